package server

import (
	"fmt"
	"io"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store/local"
)

// Restore makes a new log in an empty directory from a backup. Of a damaged one
// nothing is left there.
func Restore(dir string, backup io.Reader) error {
	return local.Restore(dir, backup, local.Options{})
}

// Backup says what a backup holds.
type Backup struct {
	Log       rollcall.LogID
	Revision  rollcall.Revision
	Instances int
}

// VerifyBackup reads a backup to its end and says what it holds, or what is
// wrong with it.
func VerifyBackup(r io.Reader) (b Backup, err error) {
	rd, err := record.NewReader(r)
	if err != nil {
		return b, err
	}
	b.Log, b.Revision = rd.Header.Log, rd.Header.Revision
	for {
		changes, err := rd.Next()
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, fmt.Errorf("after %d instances: %w", b.Instances, err)
		}
		for _, c := range changes {
			if _, ok := c.Body.(rollcall.InstancePut); ok {
				b.Instances++
			}
		}
	}
}
