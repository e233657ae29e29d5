package torture

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mutants are defects that are put into the program on purpose, one a file: a few
// lines of "name: value" and a diff. A check that does not find them proves
// nothing about a program without them.
//
//go:embed mutants/*.diff
var mutants embed.FS

// A Mutant is a program with a defect.
type Mutant struct {
	Name string
	// About says what is changed, Expect what it has to be caught at.
	About, Expect string
	// By names what has to catch it: simulation, crash, or scenarios.
	By    []string
	Patch []byte
}

// Mutants returns all mutants in order of their names.
func Mutants() ([]Mutant, error) {
	entries, err := fs.ReadDir(mutants, "mutants")
	if err != nil {
		return nil, err
	}
	var all []Mutant
	for _, entry := range entries {
		text, err := fs.ReadFile(mutants, "mutants/"+entry.Name())
		if err != nil {
			return nil, err
		}
		head, patch, ok := strings.Cut(string(text), "\n\n")
		m := Mutant{Name: strings.TrimSuffix(entry.Name(), ".diff"), Patch: []byte(patch)}
		for line := range strings.Lines(head) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "about":
				m.About = value
			case "expect":
				m.Expect = value
			case "by":
				m.By = strings.Split(value, ", ")
			default:
				return nil, fmt.Errorf("mutant %s: %q is not known", m.Name, line)
			}
		}
		if !ok || m.About == "" || m.Expect == "" || len(m.By) == 0 {
			return nil, fmt.Errorf("mutant %s: about, expect, by and a diff after an empty line are needed", m.Name)
		}
		all = append(all, m)
	}
	return all, nil
}

// files returns which files of the module a mutant changes.
func (m *Mutant) files() []string {
	var files []string
	for line := range strings.Lines(string(m.Patch)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- a/"); ok && !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	return files
}

// Overlay applies the diff to copies of the module's files and returns the path of
// a file for `go build -overlay`: the module itself is not touched. The error says
// so if the diff does not fit any more; it is then for whoever changed the code to
// make the defect anew.
func (m *Mutant) Overlay(ctx context.Context, module, dir string) (string, error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, name := range m.files() {
		text, err := os.ReadFile(filepath.Join(module, filepath.FromSlash(name)))
		if err != nil {
			return "", fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		copied := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(copied), 0o700); err != nil {
			return "", fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			return "", fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		overlay.Replace[filepath.Join(module, filepath.FromSlash(name))] = copied
	}
	apply := exec.CommandContext(ctx, "git", "apply", "--whitespace=nowarn", "-")
	apply.Dir, apply.Stdin = dir, strings.NewReader(string(m.Patch))
	// Outside of any repository: a patch inside one is silently left out.
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir), "GIT_DIR="+filepath.Join(dir, "none"))
	if out, err := apply.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mutant %s: its diff does not fit the code any more: %w: %s", m.Name, err, out)
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// Module returns the directory of the source that this program's mutants are made
// of, or why there is none here.
func Module(ctx context.Context) (string, error) {
	for _, tool := range []string{"go", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("mutants are built from source, and there is no %s here", tool)
		}
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	path, dir, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !ok || path != "github.com/agentik-os/panda" {
		return "", fmt.Errorf("mutants are built from source; run this in panda's source directory")
	}
	return dir, nil
}

// Build builds the program with the defect.
func (m *Mutant) Build(ctx context.Context, module, overlay, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-tags", "failpoint", "-o", binary, "./cmd/panda")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build mutant %s: %w: %s", m.Name, err, out)
	}
	return nil
}

// Vet compiles what a mutant changes, without linking it.
func (m *Mutant) Vet(ctx context.Context, module, overlay string) error {
	args := []string{"build", "-overlay", overlay}
	for _, name := range m.files() {
		if strings.HasSuffix(name, ".go") {
			args = append(args, "./"+filepath.ToSlash(filepath.Dir(filepath.FromSlash(name))))
		}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./schemas")...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile mutant %s: %w: %s", m.Name, err, out)
	}
	return nil
}
