package scsi

import (
	"bytes"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Whatever a device sends: no panic, and what is accepted makes sense.

func FuzzParseDesignators(f *testing.F) {
	f.Add(unhex(f, lioPage))
	f.Add([]byte{0, 0x83, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseDesignators(b)
		if err != nil {
			return
		}
		for _, d := range all {
			_ = d.String()
		}
		if best, ok := choose(all); ok && (len(best.Value) == 0 || len(best.Value) > maxDesignator || best.Association != LogicalUnit) {
			t.Errorf("chose %+v", best)
		}
		if again, err := ParseDesignators(append([]byte{0, 0x83, b[2], b[3]}, encodeDesignators(all)...)); err != nil || len(again) != len(all) {
			t.Errorf("%v became %v, %v", all, again, err)
		}
	})
}

func FuzzParseParameters(f *testing.F) {
	f.Add(unhex(f, lioParameters))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseParameters(b)
		if err != nil {
			return
		}
		for _, block := range []uint32{512, 4096, 1 << 20} {
			l := limitsOf(p, block)
			if l.Valid() && (l.SegmentBlocks > maxSegmentBlocks || l.SegmentBlocks%l.Granularity != 0 || l.Segments > p.Segments || p.SegmentBytes != 0 && l.SegmentBlocks > p.SegmentBytes/block) {
				t.Errorf("%+v became %+v", p, l)
			}
			if uint32(l.Segments)*segmentSize+2*cscdSize > max(p.ListBytes, 2*cscdSize) {
				t.Errorf("%+v became %+v", p, l)
			}
		}
	})
}

func FuzzParseThirdParty(f *testing.F) {
	for _, b := range []Behaviour{CTL(), LIO()} {
		body := b.thirdParty()
		f.Add(append([]byte{0, 0x8F, byte(len(body) >> 8), byte(len(body))}, body...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		page, err := ParseThirdParty(b)
		if err != nil {
			return
		}
		p := CTL().Parameters
		m := p.merge(page)
		if m.Segments > p.Segments || m.ListBytes > p.ListBytes || m.Descriptors > p.Descriptors || m.Granularity < p.Granularity || m.TotalConcurrent > p.TotalConcurrent {
			t.Errorf("%+v became %+v", p, m)
		}
		page.form()
	})
}

func FuzzParseSense(f *testing.F) {
	for code := range senses {
		f.Add(fixedSense(code))
		f.Add(descriptorSense(code))
	}
	f.Add(unhex(f, "70000a000000000b120000000d020000000018"))
	f.Add(unhex(f, "720a0d02000000100a000000000000000000090c020018"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := Judge(Completion{Status: CheckCondition, Sense: b}, nil)
		if o.Action == blocks.ActionDone || o.Action == blocks.ActionFence || o.Err == nil || o.Reason == "" {
			t.Errorf("%+v", o)
		}
		s, err := ParseSense(b)
		if err != nil {
			return
		}
		for _, x := range s.Forwarded {
			if len(x.Sense) >= len(b) {
				t.Errorf("%+v", s)
			}
		}
	})
}

func FuzzDecodeList(f *testing.F) {
	for _, form := range []Form{LID1, LID4} {
		l := List{form, 0, []Unit{{nameA, 512}, {nameB, 512}}, []Segment{{0, 1, piece(1, 2, 3)}}}
		b := make([]byte, l.Size())
		if _, err := l.Encode(b); err != nil {
			f.Fatal(err)
		}
		f.Add(form == LID4, b)
	}
	f.Fuzz(func(t *testing.T, long bool, b []byte) {
		form := LID1
		if long {
			form = LID4
		}
		l, err := DecodeList(form, b)
		if err != nil {
			return
		}
		again := make([]byte, l.Size())
		if n, err := l.Encode(again); err != nil || !bytes.Equal(again[:n], b) {
			t.Errorf("%x became %x, %v", b, again[:n], err)
		}
	})
}

// FuzzParseSmall: the parsers of fixed structures.
func FuzzParseSmall(f *testing.F) {
	f.Add(unhex(f, "00 00 06 02 1f 08 00 02 4c494f2d4f524720 6469736b312020202020202020202020 342e3020"))
	f.Add(unhex(f, "00000000000fffff 00000200 00 000000"))
	f.Add(unhex(f, "00000008 02 0003 00 00000000"))
	f.Add(unhex(f, "00000024 01 01 0000 ffffffff 00 08 02 f1 0000000000000005 0004 000000000000 7005000000000000"))
	f.Add(unhex(f, "00 80 0008 2061626320202020"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (Capacity, error){ParseCapacity10, ParseCapacity16} {
			if c, err := parse(b); err == nil && (c.Blocks == 0 || c.BlockSize < 512 || c.Blocks > 1<<63/uint64(c.BlockSize)) {
				t.Errorf("%+v", c)
			}
		}
		if s, err := ParseCopyStatusLID4(b); err == nil && (len(s.Sense) > len(b) || s.State > CopyFailed) {
			t.Errorf("%+v", s)
		}
		if s, err := ParseCopyStatusLID1(b); err == nil && s.State > CopyFailed {
			t.Errorf("%+v", s)
		}
		if pages, err := ParsePages(b); err == nil && len(pages) > len(b) {
			t.Errorf("%v", pages)
		}
		if s, err := ParseSerial(b); err == nil && len(s) > len(b) {
			t.Errorf("%q", s)
		}
		if i, err := ParseInquiry(b); err == nil && (i.DeviceType > 0x1F || i.Qualifier > 7) {
			t.Errorf("%+v", i)
		}
	})
}
