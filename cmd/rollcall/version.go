package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  rollcall version\n  rollcall version --output json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON, _ := format(cmd); asJSON {
				return e.document(build())
			}
			_, err := fmt.Fprintln(e.out, versionText())
			return err
		},
	}
}

// versionText says in a line what this binary is.
func versionText() string {
	v := build()
	commit := ""
	if v.Commit != "" {
		commit = "commit " + v.Commit[:min(12, len(v.Commit))] + ", "
	}
	return fmt.Sprintf("rollcall %s (%s%s, %s)", v.Version, commit, v.Go, v.Platform)
}

// buildInfo is what is known of how this binary was made.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// build reads the linker's version, or what the Go tool noted in the binary.
func build() buildInfo {
	v := buildInfo{
		Version:  version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		v.Version = cmp.Or(v.Version, "unknown")
		return v
	}
	v.Version = cmp.Or(v.Version, info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
