package client

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDamageInTheMiddleIsReported(t *testing.T) {
	dir := t.TempDir()
	s, damage, err := openSpool(dir, 1<<20, false)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	for i := range 6 {
		if i == 3 {
			if err := s.roll(); err != nil {
				t.Fatal(err)
			}
		}
		data, err := event(fmt.Sprint("e", i)).encode("/test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.push(data); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(s.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, int64(len(segmentMagic))+recordHeadBytes+3); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.peek(10, batchBytesMax); !errors.Is(err, ErrSpoolDamaged) || !strings.Contains(err.Error(), "3 events") {
		t.Errorf("peek says %v", err)
	}
	events, err := s.peek(10, batchBytesMax)
	if err != nil || len(events) != 3 || idOf(events[0]) != "e3" {
		t.Errorf("after the damage come %d events: %v", len(events), err)
	}
	if _, err := os.Stat(s.path(1) + ".damaged"); err != nil {
		t.Errorf("the damaged segment is not kept: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// A spool under random pushes, confirmations and restarts behaves like a list.
func TestSpoolIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "spool")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		const bytesMax = 64 << 10
		s, _, err := openSpool(dir, bytesMax, false)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.close() }()
		var want []string
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				body := fmt.Sprint(n, strings.Repeat("x", rapid.IntRange(0, 3000).Draw(t, "size")))
				n++
				switch err := s.push([]byte(body)); {
				case err == nil:
					want = append(want, body)
				case !errors.Is(err, ErrSpoolFull) || len(want) == 0 && s.bytes < bytesMax/2:
					t.Fatalf("push with %d in the queue: %v", len(want), err)
				}
			},
			"confirm": func(t *rapid.T) {
				got, err := s.peek(rapid.IntRange(1, 20).Draw(t, "max"), 8000)
				if err != nil || (len(got) == 0) != (len(want) == 0) {
					t.Fatalf("peek gives %d of %d: %v", len(got), len(want), err)
				}
				for i := range got {
					if string(got[i]) != want[i] {
						t.Fatalf("event %d is %.20s, want %.20s", i, got[i], want[i])
					}
				}
				k := rapid.IntRange(0, len(got)).Draw(t, "confirmed")
				if k == 0 {
					return
				}
				if err := s.drop(k); err != nil {
					t.Fatal(err)
				}
				want = want[k:]
			},
			"restart": func(t *rapid.T) {
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				var damage error
				if s, damage, err = openSpool(dir, bytesMax, false); err != nil || damage != nil {
					t.Fatal(err, damage)
				}
			},
			"": func(t *rapid.T) {
				if events, bytes := s.pending(); events != len(want) || bytes > bytesMax {
					t.Fatalf("%d events in %d bytes are pending, want %d events", events, bytes, len(want))
				}
			},
		})
	})
}
