package local

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Restore makes a log in dir, which must be empty or not exist, of a state file
// such as a backup. The log has a new identity and goes on from the state's
// revision. If the file is damaged or anything fails, nothing is left in dir.
func Restore(dir string, r io.Reader, o Options) (err error) {
	d := o.directory(dir)
	state, err := record.NewReader(r)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if err := d.fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	names, err := d.fs.List(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("data directory %s is not empty (it holds %s): restore into an empty one, "+
			"and keep this until you know that you do not need it", dir, names[0])
	}
	lock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.fs.Remove(d.file(lockName))
		}
		if cerr := lock.Close(); err == nil {
			err = cerr
		}
	}()

	id := newIdentity()
	h := state.Header
	h.Log, h.Created = id.ID, id.Created
	c := checkpoint{at: h.Revision, segment: 1}
	var readErr error
	changes := func(yield func(rollcall.Change) bool) {
		for {
			page, err := state.Next()
			if err != nil {
				if err != io.EOF {
					readErr = err
				}
				return
			}
			if h.Revision == 0 {
				readErr = fmt.Errorf("%w: changes at revision 0", record.ErrDamaged)
				return
			}
			for _, change := range page {
				if !yield(change) {
					return
				}
			}
		}
	}
	// The file is checked on its way into a temporary one, which only gets its
	// name once the end has been reached and found right.
	err = d.write(c.name(), func(w vfs.File) error {
		err := record.WriteState(w, h, changes)
		if readErr != nil {
			return fmt.Errorf("read backup: %w", readErr)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The identity makes it a log, so it comes last.
	if err := d.create(id); err != nil {
		d.fs.Remove(d.file(c.name()))
		return err
	}
	return nil
}
