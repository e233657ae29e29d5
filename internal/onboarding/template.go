package onboarding

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/schemas"
)

//go:embed templates.yaml
var templatesYAML []byte

// An Agent is one of a template, as its runtime is to set it up.
type Agent struct {
	Name       string   `json:"name"`
	Department string   `json:"department"`
	Model      string   `json:"model"`
	Purpose    string   `json:"purpose"`
	Skills     []string `json:"skills"`
}

// A Widget is a part of a dashboard: a title and the question of the API behind it.
type Widget struct {
	Title string `json:"title"`
	Query string `json:"query"`
}

// A Template is what a tenant can start from.
type Template struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Agents  []Agent  `json:"agents"`
	Widgets []Widget `json:"widgets"`

	topics  []string
	version int
}

// Skills are those of all agents, each once, in their order.
func (t *Template) Skills() (skills []string) {
	seen := map[string]bool{}
	for _, a := range t.Agents {
		for _, s := range a.Skills {
			if !seen[s] {
				skills = append(skills, s)
			}
			seen[s] = true
		}
	}
	return skills
}

// Templates is a list of templates. It is not changed after it was made.
type Templates []Template

// Find returns a template by name. Errors match schemas.ErrInvalid.
func (l Templates) Find(name string) (*Template, error) {
	names := make([]string, len(l))
	for i := range l {
		if l[i].Name == name {
			return &l[i], nil
		}
		names[i] = l[i].Name
	}
	if name == "" {
		return nil, schemas.Invalid("/template", schemas.CodeMissing, "say which template; use %s", strings.Join(names, ", "))
	}
	return nil, schemas.Invalid("/template", schemas.CodeUnknown, "there is no template %q; use %s", name, strings.Join(names, ", "))
}

// Default returns the templates of templates.yaml. A broken one is a broken build.
func Default() Templates {
	list, err := Parse(templatesYAML)
	if err != nil {
		panic("onboarding: " + err.Error())
	}
	return list
}

// Parse reads templates in the form of templates.yaml. Unknown fields are errors.
func Parse(text []byte) (Templates, error) {
	var file struct {
		Version   int
		Templates []struct {
			Name, Title string
			Agents      []Agent
			Topics      []string
			Widgets     []Widget
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("read templates: %w: %w", schemas.ErrInvalid, err)
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("read templates: %w: %s", schemas.ErrInvalid, fmt.Sprintf(format, args...)))
	}
	if file.Version < 1 {
		wrong("version is missing; it goes up with every change")
	}
	var list Templates
	seen := map[string]bool{}
	for _, t := range file.Templates {
		switch {
		case t.Name == "" || t.Title == "" || seen[t.Name]:
			wrong("template %q has no name or title, or is there twice", t.Name)
		case len(t.Agents) == 0 || len(t.Topics) == 0:
			wrong("template %s has no agents or no topics", t.Name)
		}
		seen[t.Name] = true
		for _, a := range t.Agents {
			if a.Name == "" || a.Department == "" || a.Model == "" || a.Purpose == "" {
				wrong("template %s: agent %q lacks its name, department, model or purpose", t.Name, a.Name)
			}
		}
		list = append(list, Template{Name: t.Name, Title: t.Title, Agents: t.Agents, Widgets: t.Widgets, topics: t.Topics, version: file.Version})
	}
	if len(list) == 0 {
		wrong("there is none")
	}
	return list, errors.Join(errs...)
}
