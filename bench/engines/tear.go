package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// Damage is how one engine came through many damages of one kind, each done to a fresh
// copy of a log that was cut off without being closed. Every record had been acknowledged.
type Damage struct {
	Engine string `json:"engine"`
	Group  int    `json:"group"` // records per commit
	Kind   string `json:"kind"`
	Cases  int    `json:"cases"`
	// Kept: opened with the groups that lie whole before the damage, and no error.
	Kept int `json:"kept"`
	// Fewer: opened without an error, but whole groups before the damage are missing.
	Fewer int `json:"fewer"`
	// Whole: opened with every record, as if nothing had happened.
	Whole   int `json:"whole"`
	Refused int `json:"refused"` // an error
	Wrong   int `json:"wrong"`   // a record that nobody wrote
	Panics  int `json:"panics"`
	// GoesOn: of those that opened, how many took more records and reopened with all of them.
	GoesOn int            `json:"goes_on"`
	Errors map[string]int `json:"errors,omitempty"`
}

const (
	tearRecords = 4000
	tearCases   = 200
	sector      = 512
)

// tear damages each engine's log in many places and opens it again.
func tear(chosen []Spec, root, out string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "engine\tgroup\tdamage\tcases\tkept\tfewer\twhole\trefused\twrong\tpanics\tgoes on\terrors")
	for _, s := range chosen {
		for _, group := range []int{1, 16, 256} { // records per commit
			master := filepath.Join(root, "master")
			if err := writeTorn(s, master, group); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			for _, kind := range []string{"cut", "zeroed", "zeroed-sectors", "flipped"} {
				d, err := damage(s, master, root, group, kind)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				if err := save(out, d); err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\n", d.Engine, d.Group, d.Kind,
					d.Cases, d.Kept, d.Fewer, d.Whole, d.Refused, d.Wrong, d.Panics, d.GoesOn, d.Errors)
			}
		}
	}
	return w.Flush()
}

// writeTorn fills a log and copies it while it is open, which is what a crash leaves.
func writeTorn(s Spec, master string, group int) error {
	live := master + "-live"
	if err := errors.Join(os.RemoveAll(master), os.RemoveAll(live), os.MkdirAll(live, 0o700)); err != nil {
		return err
	}
	defer os.RemoveAll(live)
	e, err := s.Open(Config{Dir: live})
	if err != nil {
		return err
	}
	if err := appendRecords(e, 0, tearRecords, group); err != nil {
		return err
	}
	return errors.Join(copyDir(master, live), e.Close())
}

// appendRecords commits the records from..to-1 in groups.
func appendRecords(e Engine, from, to, group int) error {
	records := make([][]byte, 0, group)
	for n := from; n < to; n++ {
		r := make([]byte, recordSize)
		fillRecord(r, uint64(n))
		if records = append(records, r); len(records) == group || n == to-1 {
			if err := e.Commit(records); err != nil {
				return err
			}
			records = records[:0]
		}
	}
	return nil
}

func damage(s Spec, master, root string, group int, kind string) (Damage, error) {
	d := Damage{Engine: s.Name, Group: group, Kind: kind, Cases: tearCases, Errors: map[string]int{}}
	name, data, err := largest(master)
	if err != nil {
		return d, err
	}
	end := len(bytes.TrimRight(data, "\x00"))
	random := rand.New(rand.NewPCG(1, uint64(group)))
	dir := filepath.Join(root, "copy")
	for range tearCases {
		bad, at := slices.Clone(data), end/10+random.IntN(end*9/10)
		switch kind {
		case "cut":
			bad = bad[:at]
		case "zeroed":
			clear(bad[at:])
		case "zeroed-sectors": // a disk writes whole sectors
			at -= at % sector
			clear(bad[at:])
		case "flipped":
			bad[at] ^= 1 << random.IntN(8)
		}
		if err := errors.Join(os.RemoveAll(dir), copyDir(dir, master), writeSparse(filepath.Join(dir, name), bad)); err != nil {
			return d, err
		}
		d.judge(s, dir, intact(data, at))
	}
	return d, os.RemoveAll(dir)
}

// copyDir copies a log's files; what is zero at their ends stays a hole.
func copyDir(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeSparse(filepath.Join(to, name), b)
	})
}

func writeSparse(path string, data []byte) error {
	if err := os.WriteFile(path, bytes.TrimRight(data, "\x00"), 0o600); err != nil {
		return err
	}
	return os.Truncate(path, int64(len(data)))
}

// judge opens a damaged log, of which the first intact records lie whole before the damage.
func (d *Damage) judge(s Spec, dir string, intact int) {
	got, wrong, err := reopen(s, dir, func(e Engine, got int) error {
		return appendRecords(e, got, got+10, 1)
	})
	switch {
	case errors.Is(err, errPanic):
		d.Panics++
	case err != nil:
		d.Refused++
		d.Errors[reason(err, dir)]++
	case wrong:
		d.Wrong++
	case got == tearRecords:
		d.Whole++
	case got < intact-intact%d.Group:
		d.Fewer++
	default:
		d.Kept++
	}
	if err != nil {
		return
	}
	again, wrong, err := reopen(s, dir, nil)
	if err == nil && !wrong && again == got+10 {
		d.GoesOn++
	} else if err != nil {
		d.Errors["then: "+reason(err, dir)]++
	}
}

var errPanic = errors.New("panic")

// reopen replays a log, compares each record with the one written, and closes it again.
func reopen(s Spec, dir string, then func(e Engine, got int) error) (got int, wrong bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	want := make([]byte, recordSize)
	e, err := s.Open(Config{Dir: dir, Replay: func(r []byte) {
		fillRecord(want, uint64(got))
		wrong = wrong || !bytes.Equal(r, want)
		got++
	}})
	if err != nil {
		return got, wrong, err
	}
	if then != nil {
		err = then(e, got)
	}
	return got, wrong, errors.Join(err, e.Close())
}

// intact counts the records that end before the damage, by looking for each one's key. A
// key that is split between two blocks is not found; the next one shows that it is there.
func intact(data []byte, at int) (count int) {
	record := make([]byte, recordSize)
	for n, from := 0, 0; n < tearRecords; n++ {
		fillRecord(record, uint64(n))
		i := bytes.Index(data[from:min(at, from+2*recordSize)], record[:keySize])
		if i < 0 {
			continue
		}
		if from += i + recordSize; from > at {
			return count
		}
		count = n + 1
	}
	return count
}

// largest finds the log file of a small log: the one that holds the first record.
func largest(dir string) (name string, data []byte, err error) {
	first := make([]byte, recordSize)
	fillRecord(first, 0)
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		if bytes.Contains(b, first[:keySize]) {
			name, data = path, b
		}
		return err
	})
	if err == nil && name == "" {
		err = errors.New("no file holds the first record")
	}
	return name, data, err
}

var numbers = regexp.MustCompile(`\b[0-9a-f]*[0-9][0-9a-f]*\b`)

// reason shortens an error to what it says about the damage.
func reason(err error, dir string) string {
	text := numbers.ReplaceAllString(strings.ReplaceAll(err.Error(), dir, ""), "#")
	return text[:min(len(text), 90)]
}
