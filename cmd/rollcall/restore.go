package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/internal/server"
)

func newRestore(e *env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data directory from a backup",
		Long: `Restore reads a backup (- is standard input), verifies all of it, and makes a new
data directory from it for serve. The directory must be empty or not exist: a
server's data is never overwritten.

The restored log gets a new identity, so that clients which knew the old one
start over instead of mixing the two.`,
		Example: `  rollcall restore rollcall.backup --data-dir ./restored
  rollcall serve --data-dir ./restored`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fromEnv(cmd.Flags(), e.getenv, "data-dir"); err != nil {
				return err
			}
			f, err := e.openBackup(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := server.VerifyBackup(f)
			if err == nil {
				_, err = f.Seek(0, io.SeekStart)
			}
			if err == nil {
				err = server.Restore(dir, f)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			doc := map[string]any{"data_dir": dir, "revision": b.Revision, "instances": b.Instances}
			return e.tell(cmd, doc, "%d instances restored; start with: rollcall serve --data-dir %s", b.Instances, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", defaultDataDir, "`DIRECTORY` to make")
	return cmd
}

// openBackup opens a file, or standard input for "-", so that it can be read
// more than once.
func (e *env) openBackup(name string) (*os.File, error) {
	if name != "-" {
		return os.Open(name)
	}
	f, err := os.CreateTemp("", ".rollcall-restore-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // it lives until it is closed
	if _, err = io.Copy(f, e.in); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
