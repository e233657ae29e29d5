package client

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func segmentOf(payloads ...string) []byte {
	data := []byte(segmentMagic)
	for _, p := range payloads {
		data = appendRecord(data, []byte(p))
	}
	return data
}

// Whatever the bytes of a segment are, the scan ends inside them, and what it
// accepts is exactly what writing the same records gives.
func FuzzScanSegment(f *testing.F) {
	whole := segmentOf("one", "two", "three")
	f.Add(whole, int64(0))
	f.Add(whole[:len(whole)-2], int64(12))
	f.Add(append(whole, 0, 0, 0, 0, 0, 0, 0, 0), int64(20))
	f.Add([]byte(segmentMagic), int64(8))
	f.Add([]byte("PANDASP2"), int64(0))
	f.Add([]byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, data []byte, from int64) {
		end, records := scanSegment(data, from)
		if end < 0 || end > int64(len(data)) || records < 0 {
			t.Fatalf("end %d, %d records in %d bytes", end, records, len(data))
		}
		if end == 0 {
			return
		}
		again := []byte(segmentMagic)
		count := 0
		for rest := data[len(segmentMagic):end]; len(rest) > 0; {
			if int64(len(again)) >= from {
				count++
			}
			payload, next, ok := nextRecord(rest)
			if !ok {
				t.Fatalf("the scan accepted %d bytes that do not read", end)
			}
			again = appendRecord(again, payload)
			rest = next
		}
		if !bytes.Equal(again, data[:end]) || count != records {
			t.Fatalf("%d records in %q read back as %d in %q", records, data[:end], count, again)
		}
	})
}

// A cut at every byte, and a flipped bit at every byte, never yields a record that
// was not written.
func TestScanSegmentAtEveryByte(t *testing.T) {
	whole := segmentOf("alpha", "beta", "gamma")
	ends := []int{8, 8 + 13, 8 + 13 + 12, len(whole)}
	intactBefore := func(at int) int {
		n := 0
		for n < 3 && ends[n+1] <= at {
			n++
		}
		return n
	}
	for at := range whole {
		if _, records := scanSegment(whole[:at], 0); records != intactBefore(at) {
			t.Errorf("cut at %d: %d records, want %d", at, records, intactBefore(at))
		}
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x10
		want := intactBefore(at)
		if _, records := scanSegment(flipped, 0); records != want {
			t.Errorf("bit flipped at %d: %d records, want %d", at, records, want)
		}
	}
}

// A failed write leaves the spool as it was, and the next record is readable.
func TestFailedWriteIsNotARecord(t *testing.T) {
	dir := t.TempDir()
	s, _, err := openSpool(dir, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	push := func(body string) error { return s.push([]byte(body)) }
	if err := push("one"); err != nil {
		t.Fatal(err)
	}
	if err := s.writer.Close(); err != nil { // as a disk that goes away
		t.Fatal(err)
	}
	if err := push("lost"); err == nil || errors.Is(err, ErrSpoolFull) {
		t.Fatalf("push on a broken file says %v", err)
	}
	if err := push("two"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 2 {
		events, err := s.peek(10, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			got = append(got, string(e))
		}
		if err := s.drop(len(events)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"one", "two"}, got); diff != "" {
		t.Error(diff)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// A cursor that is lost, torn or from before costs repeats, never an event.
func TestLostCursorRepeats(t *testing.T) {
	for _, cursor := range [][]byte{nil, {}, bytes.Repeat([]byte{7}, cursorBytes)} {
		dir := t.TempDir()
		s, _, err := openSpool(dir, 1<<20, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"one", "two"} {
			if err := s.push([]byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.peek(1, 1000); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.drop(1), s.close(), os.WriteFile(dir+"/cursor", cursor, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, damage, err := openSpool(dir, 1<<20, false)
		if err != nil || damage != nil {
			t.Fatal(err, damage)
		}
		if n, _ := s.pending(); n != 2 {
			t.Errorf("%d events are pending, want both", n)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}
