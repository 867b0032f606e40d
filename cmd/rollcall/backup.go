package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/server"
)

func newBackup(e *env) *cobra.Command {
	conn := connection{e: e}
	cmd := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Download and verify a backup of a running server",
		Long: `Backup downloads everything that a server keeps, as of one revision, verifies it,
and only then puts it at FILE, which only its owner may read. Without FILE the
name is made up from the time; - is standard output. The server goes on serving.`,
		Example: `  rollcall backup
  rollcall backup /var/backups/rollcall.backup
  rollcall backup - | ssh backuphost 'cat > rollcall.backup'`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := time.Now().UTC().Format("rollcall-20060102T150405Z.backup")
			if len(args) > 0 {
				name = args[0]
			}
			return conn.with(func(c *client.Client) error {
				ctx, stop := interruptible(cmd.Context())
				defer stop()
				if name == "-" {
					return e.backupTo(ctx, c, e.out)
				}
				got, err := backupFile(ctx, c, name)
				if err != nil {
					return err
				}
				return e.tell(cmd, got, "backup of revision %d with %d instances in %s", got.Revision, got.Instances, name)
			})
		},
	}
	conn.flags(cmd)
	return cmd
}

// backedUp says what became of a backup.
type backedUp struct {
	File      string            `json:"file"`
	LogID     rollcall.LogID    `json:"log_id"`
	Revision  rollcall.Revision `json:"revision"`
	Instances int               `json:"instances"`
	Bytes     int64             `json:"bytes"`
}

// backupFile makes the file called name from a backup, once that is whole.
func backupFile(ctx context.Context, c *client.Client, name string) (got backedUp, err error) {
	dir := filepath.Dir(name)
	f, err := download(ctx, c, dir)
	if err != nil {
		return got, err
	}
	defer os.Remove(f.Name()) // fails once it has been renamed
	defer f.Close()
	b, err := server.VerifyBackup(f)
	if err != nil {
		return got, fmt.Errorf("the backup came damaged, so it was not kept: %w; try again", err)
	}
	if err := f.Sync(); err != nil {
		return got, err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return got, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	return backedUp{File: name, LogID: b.Log, Revision: b.Revision, Instances: b.Instances, Bytes: size}, err
}

// backupTo writes a backup to w, once that is whole.
func (e *env) backupTo(ctx context.Context, c *client.Client, w io.Writer) error {
	f, err := download(ctx, c, "")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := server.VerifyBackup(f); err != nil {
		return fmt.Errorf("the backup came damaged: %w; try again", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// download puts a backup into a new file in dir, at its beginning. Nobody else
// may read it.
func download(ctx context.Context, c *client.Client, dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".rollcall-backup-*") // of mode 0600
	if err != nil {
		return nil, err
	}
	err = c.Backup(ctx, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}
