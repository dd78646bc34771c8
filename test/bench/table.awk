# Makes a table in Markdown of the output of go test -bench: a row for each
# benchmark, with all that it reports, in units that suit it.

# scaled turns a number of small units into one of larger ones, each step times
# the one before.
function scaled(number, step, units,    list, n, i) {
	n = split(units, list, " ")
	for (i = 1; i < n && number >= step; i++) number /= step
	return sprintf(number >= 100 || i == 1 ? "%.0f %s" : "%.3g %s", number, list[i])
}
/^pkg:/ { sub(/.*dmcopy\//, "", $2); room = $2 }
/^Benchmark/ {
	name = $1
	sub(/^Benchmark/, "", name)
	sub(/-[0-9]+$/, "", name)
	values = ""
	for (i = 3; i < NF; i += 2) {
		unit = $(i + 1)
		if (unit == "ns/op" && $i + 0 == 0) continue
		value = $i " " unit
		if (unit == "ns/op" && $i >= 1000) value = scaled($i, 1000, "ns µs ms s") "/op"
		if (unit == "B/op") value = scaled($i, 1024, "B KiB MiB GiB") "/op"
		if (unit ~ /\/s$/ && $i >= 1000000) value = scaled($i / 1000, 1000, "k M G") " " unit
		sub(/-MiB$/, " MiB", value)
		gsub(/_/, " ", value)
		values = values (values ? ", " : "") value
	}
	rows[++n] = "| " room " " name " | " values " |"
}
END {
	if (!n) exit 1
	print "\n| benchmark | result |\n|---|---|"
	for (i = 1; i <= n; i++) print rows[i]
	print ""
}
