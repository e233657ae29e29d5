package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// newVersion is `panda version`.
func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version, commit := buildVersion()
			a.print("panda %s", version)
			if commit != "" {
				a.print(" (%s)", commit)
			}
			a.print(", %s, %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// buildVersion returns what the toolchain recorded about this build: the
// module's version and the commit, "+changes" if the tree was not clean.
func buildVersion() (version, commit string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", ""
	}
	version = info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if commit != "" && changed {
		commit += "+changes"
	}
	return version, commit
}
