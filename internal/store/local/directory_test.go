package local

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestLocked: a directory has one owner at a time, in this process and among
// all.
func TestLocked(t *testing.T) {
	if dir := os.Getenv("ROLLCALL_TEST_LOCKED"); dir != "" {
		if _, err := Open(dir, Options{}); err != nil {
			os.Stdout.WriteString(err.Error())
		}
		return
	}
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("opened twice: %v", err)
	}
	other := exec.Command(os.Args[0], "-test.run=^TestLocked$")
	other.Env = append(os.Environ(), "ROLLCALL_TEST_LOCKED="+dir)
	out, err := other.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "data directory "+dir+" is in use") || !strings.Contains(string(out), "stop the other process") {
		t.Errorf("another process: %v\n%s", err, out)
	}
	l.Close()
	open(t, dir, Options{})
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l := open(t, dir, Options{})
	r := appendOne(t, l, instance("a", "1"))
	if err := l.Checkpoint(background, r, state(t, l).Changes()); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); e.IsDir() && mode != 0o700 || !e.IsDir() && e.Name() != lockName && mode != 0o600 {
			t.Errorf("%s has mode %v", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// backup returns the state of a log as a file.
func backup(t *testing.T, l *Log) []byte {
	t.Helper()
	last, m, err := read(l)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	h := record.Header{Log: l.Status().ID, Created: l.Status().Created, Revision: rollcall.Revision(last), Fence: 7}
	if err := record.WriteState(&b, h, m.Changes()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestore(t *testing.T) {
	l := open(t, "data", Options{FS: newDisk(nil).view()})
	for _, id := range []string{"a", "b", "c"} {
		appendOne(t, l, instance(id, strings.Repeat(id, 40_000)))
	}
	want, file := state(t, l), backup(t, l)

	dir := filepath.Join(t.TempDir(), "new")
	if err := Restore(dir, bytes.NewReader(file), Options{}); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	restored := open(t, dir, Options{})
	if restored.Status().ID == l.Status().ID || restored.Status().Created.Before(l.Status().Created) {
		t.Errorf("restored as %s of %v, from %s of %v", restored.Status().ID, restored.Status().Created, l.Status().ID, l.Status().Created)
	}
	wantState(t, restored, want)
	_, err := restored.Append(background, rollcall.Batch{Fence: 6, Changes: []rollcall.Change{instance("d", "1")}})
	if !errors.Is(err, rollcall.ErrConflict) {
		t.Errorf("Append with an old fence: %v", err)
	}
	if r := appendOne(t, restored, instance("d", "1")); r != 4 {
		t.Errorf("revision %d after restoring 3", r)
	}
	if err := Restore(dir, bytes.NewReader(file), Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored into a directory in use: %v", err)
	}
	want = state(t, restored)
	restored.Close()
	wantState(t, open(t, dir, Options{}), want)
}

// TestRestoreDamaged: a damaged backup, or a disk that fails, leaves nothing.
func TestRestoreDamaged(t *testing.T) {
	l := open(t, "data", Options{FS: newDisk(nil).view()})
	appendOne(t, l, instance("a", strings.Repeat("a", 500)))
	file := backup(t, l)
	for at := range file {
		flipped := bytes.Clone(file)
		flipped[at] ^= 4
		for _, bad := range [][]byte{file[:at], flipped} {
			d := newDisk(nil)
			if err := Restore("data", bytes.NewReader(bad), Options{FS: d.view()}); err == nil {
				t.Fatalf("byte %d: restored from a damaged backup", at)
			}
			if len(d.files) > 0 {
				t.Fatalf("byte %d: %v is left", at, d.contents())
			}
		}
	}
	for _, op := range []string{"create", "write", "sync", "rename"} {
		for _, name := range []string{"checkpoint", identityName} {
			d := newDisk(nil)
			d.refuse(op, name, errors.ErrUnsupported)
			if err := Restore("data", bytes.NewReader(file), Options{FS: d.view()}); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s of %s fails: %v", op, name, err)
			}
			if len(d.files) > 0 {
				t.Errorf("%s of %s fails: %v is left", op, name, d.files)
			}
		}
	}
}

// TestFormat1 opens a directory that the first version wrote, as every later one
// must be able to.
func TestFormat1(t *testing.T) {
	const dir = "testdata/format1"
	at := time.Unix(1_700_000_000, 123_456_789).UTC()
	service := rollcall.NewServiceKey("prod", "web")
	key := rollcall.Key{ServiceKey: service, ID: "web-1"}
	batches := []rollcall.Batch{
		{Fence: 3, Changes: []rollcall.Change{
			{At: at, By: "ci", Via: "http", Why: "deploy", Body: rollcall.InstancePut{Key: key, Record: "record\x00\xff"}},
			{At: at, Body: rollcall.InstancePut{Key: rollcall.NewKey("", "db", "db-1"), RegisteredAt: at.Add(-time.Hour), Record: "other"}},
			{At: at, Body: rollcall.SettingsPut{Service: service, Settings: &rollcall.Settings{
				DNSTTL: new(rollcall.Duration(5e9)), GuardShare: new(0.0), Panic: new(0.25), PositionRate: new(10.0)}}},
		}},
		{Changes: []rollcall.Change{
			{At: at, Body: rollcall.HealthPut{Service: service, Slot: rollcall.SlotLease, Status: rollcall.Unhealthy, Reason: "lapsed", IDs: []string{"web-1", "web-2"}}},
			{At: at, By: "op", Via: "ui", Body: rollcall.OverridePut{Key: key, Override: &rollcall.Override{
				Status: rollcall.Draining, Reason: "repair", Expires: new(at.Add(time.Hour)), By: "op", Since: at}}},
			{At: at, Body: rollcall.Unknown{Kind: 77, Key: "one\x00two", Data: "\x01\x02future"}},
		}},
		// The checkpoint is here.
		{Fence: 5, Changes: []rollcall.Change{
			{At: at, Body: rollcall.InstancePut{Key: key, Incarnation: 1, RegisteredAt: at, Record: "updated"}},
			{At: at, Body: rollcall.InstanceRemove{Key: rollcall.NewKey("", "db", "db-1")}},
			{At: at, Body: rollcall.Unknown{Kind: 78, Key: "tail", Data: "tail"}},
		}},
	}
	const checkpointAt = 2
	want, middle := storetest.Model{}, storetest.Model{}
	for i, b := range batches {
		for _, c := range noted(b.Changes, rollcall.Revision(i+1)) {
			want.Apply(c)
			if i < checkpointAt {
				middle.Apply(c)
			}
		}
	}
	if *update {
		os.RemoveAll(dir)
		l := open(t, dir, Options{})
		for i, b := range batches {
			if _, err := l.Append(background, b); err != nil {
				t.Fatal(err)
			}
			if i+1 == checkpointAt {
				if err := l.Checkpoint(background, checkpointAt, middle.Changes()); err != nil {
					t.Fatal(err)
				}
			}
		}
		l.Close()
		os.Remove(filepath.Join(dir, lockName))
	}

	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l := open(t, work, Options{})
		if got, err := os.ReadFile(filepath.Join(dir, identityName)); err != nil || !bytes.Contains(got, []byte(l.Status().ID)) {
			t.Errorf("opened as %s, %s is %s (%v)", l.Status().ID, identityName, got, err)
		}
		wantState(t, l, want)
		for fence, ok := range map[rollcall.Fence]bool{4: false, 5: true} {
			_, err := l.Append(background, rollcall.Batch{Fence: fence, Changes: []rollcall.Change{{At: at, Body: rollcall.OverridePut{Key: rollcall.NewKey("", "x", "x")}}},
				If: []rollcall.Precondition{{Key: key, Incarnation: 1, Revision: 3}, {Key: rollcall.NewKey("", "db", "db-1")}}})
			if ok != (err == nil) {
				t.Errorf("Append with fence %d: %v", fence, err)
			}
		}
		l.Close()
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	d := newDisk(nil)
	for range 2 { // a log takes its metrics with it
		l := open(t, "data", Options{FS: d.view(), Registerer: registry})
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		if err != nil || len(problems) > 0 {
			t.Fatalf("problems %v, %v", problems, err)
		}
		l.Close()
	}
	l := open(t, "data", Options{FS: d.view(), Registerer: registry})
	appendOne(t, l, instance("a", "1"))
	r := appendOne(t, l, instance("b", "1"))
	l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("a", "1")}, If: []rollcall.Precondition{{Key: rollcall.NewKey("", "web", "a")}}})
	if err := l.Checkpoint(background, r, state(t, l).Changes()); err != nil {
		t.Fatal(err)
	}
	d.refuse("write", ".log", errors.ErrUnsupported)
	l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("a", "1")}})
	values := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			if len(m.Label) > 0 {
				name += " " + m.Label[0].GetValue()
			}
			switch {
			case m.Histogram != nil:
				values[name] = float64(m.Histogram.GetSampleCount())
			case m.Counter != nil:
				values[name] = m.Counter.GetValue()
			default:
				values[name] = m.Gauge.GetValue()
			}
		}
	}
	for _, name := range []string{"rollcall_log_fsync_seconds", "rollcall_checkpoint_bytes", "rollcall_checkpoint_timestamp_seconds"} {
		if values[name] == 0 {
			t.Errorf("%s is 0", name)
		}
		delete(values, name)
	}
	want := map[string]float64{
		"rollcall_log_appends_total written": 2,
		"rollcall_log_appends_total refused": 1,
		"rollcall_log_appends_total failed":  1,
		"rollcall_log_group_batches":         2,
		"rollcall_log_last_revision":         2,
		"rollcall_log_bytes":                 0,
		"rollcall_log_healthy":               0,
		"rollcall_checkpoint_revision":       2,
		"rollcall_checkpoint_seconds":        1,
		"rollcall_checkpoint_failures_total": 0,
	}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("metrics %v\nwant %v", values, want)
	}
}
