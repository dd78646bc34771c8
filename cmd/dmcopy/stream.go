package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
)

// objectWriter writes one JSON object with a long list in it, item by item,
// so that the list is never in memory.
type objectWriter struct {
	w     *bufio.Writer
	enc   *json.Encoder
	buf   bytes.Buffer
	items int
	err   error
}

// newObjectWriter begins the object with the fields of head, and the list.
func newObjectWriter(w io.Writer, head any, list string) *objectWriter {
	o := &objectWriter{w: bufio.NewWriterSize(w, 64<<10)}
	o.enc = json.NewEncoder(&o.buf)
	o.enc.SetEscapeHTML(false)
	o.put(bytes.TrimSuffix(o.encode(head), []byte("}")))
	o.put([]byte(`,"` + list + `":[`))
	return o
}

// item adds one item to the list.
func (o *objectWriter) item(v any) error {
	sep := ",\n"
	if o.items == 0 {
		sep = "\n"
	}
	o.items++
	o.put([]byte(sep))
	o.put(o.encode(v))
	return o.err
}

// end closes the list and adds the fields of tail.
func (o *objectWriter) end(tail any) error {
	o.put([]byte("]"))
	fields := bytes.TrimPrefix(o.encode(tail), []byte("{"))
	if len(fields) > len("}") {
		o.put([]byte(","))
	}
	o.put(append(fields, '\n'))
	if o.err != nil {
		return o.err
	}
	return o.w.Flush()
}

// encode returns a value on one line. It stays valid until the next call.
func (o *objectWriter) encode(v any) []byte {
	o.buf.Reset()
	if err := o.enc.Encode(v); err != nil && o.err == nil {
		o.err = err
	}
	return bytes.TrimSuffix(o.buf.Bytes(), []byte("\n"))
}

func (o *objectWriter) put(p []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
}
