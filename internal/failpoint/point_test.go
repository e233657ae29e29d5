package failpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPointsAreInTheProgram holds the list against the code: each point is passed
// somewhere, and nothing is passed that is not on the list.
func TestPointsAreInTheProgram(t *testing.T) {
	t.Parallel()
	constants := regexp.MustCompile(`(?m)^\t(\w+)\s+Point = "(\w+)"$`)
	text, err := os.ReadFile("point.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]Point{} // by constant
	for _, m := range constants.FindAllStringSubmatch(string(text), -1) {
		named[m[1]] = Point(m[2])
	}
	used := map[Point]bool{}
	marks := regexp.MustCompile(`failpoint\.(\w+)\b`)
	err = fs.WalkDir(os.DirFS("../.."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "cmd/torture") {
			return err
		}
		code, err := os.ReadFile(filepath.Join("../..", name))
		for _, m := range marks.FindAllStringSubmatch(string(code), -1) {
			// The harness names points to break things there; it does not pass them.
			if p, ok := named[m[1]]; ok && (!strings.HasPrefix(name, "internal/torture") || p == RangeRepeated) {
				used[p] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[Point]bool{}
	for _, i := range Points() {
		if listed[i.Point] {
			t.Errorf("%s is on the list twice", i.Point)
		}
		listed[i.Point] = true
		if i.Means == "" || i.Must == "" || i.In == "" {
			t.Errorf("%s does not say what it is: %+v", i.Point, i)
		}
		if !used[i.Point] {
			t.Errorf("%s is on the list, and no code passes it", i.Point)
		}
	}
	for name, p := range named {
		if !listed[p] {
			t.Errorf("%s is not on the list", name)
		}
	}
}
