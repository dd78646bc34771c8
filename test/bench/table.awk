# Makes a table in Markdown of the output of go test -bench: a row for each
# benchmark, with all that it reports.
/^pkg:/ { sub(/.*dmcopy\//, "", $2); room = $2 }
/^Benchmark/ {
	name = $1
	sub(/^Benchmark/, "", name)
	sub(/-[0-9]+$/, "", name)
	values = ""
	for (i = 3; i < NF; i += 2) {
		unit = $(i + 1)
		if (unit == "ns/op" && $i + 0 == 0) continue
		gsub(/_/, " ", unit)
		values = values (values ? ", " : "") $i " " unit
	}
	rows[++n] = "| " room " " name " | " values " |"
}
END {
	if (!n) exit 1
	print "\n| benchmark | result |\n|---|---|"
	for (i = 1; i <= n; i++) print rows[i]
	print ""
}
