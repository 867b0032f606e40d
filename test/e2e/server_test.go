//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

func instance(service, id string) rollcall.Instance {
	return rollcall.Instance{
		Service: service, ID: id, Address: "10.0.0.1", Ports: map[string]uint16{"http": 8080},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	}
}

// TestStop: SIGTERM ends streams, keeps what is there and exits with 0, and the
// next start has it.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	p := process.Serve(t, dir)
	if _, err := p.Client.Put(t.Context(), instance("stop", "s-1")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + p.Addr + "/api/v1/services/stop/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begin := time.Now()
	if err := p.Stop(t); err != nil {
		t.Errorf("exit: %v\n%s", err, p.Output())
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping with an open stream took %v", took)
	}
	p = process.Serve(t, dir)
	if _, err := p.Client.Instance(t.Context(), rollcall.NewKey("", "stop", "s-1")); err != nil {
		t.Error(err)
	}
}

// TestOneServerPerDirectory: a second one says who is in the way and leaves the
// first alone.
func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	p := process.Serve(t, dir)
	second, err := process.Start(dir)
	if err == nil {
		second.Kill()
		t.Fatal("two servers run on one directory")
	}
	if !strings.Contains(err.Error(), "use") {
		t.Errorf("the second one says %v", err)
	}
	if _, err := p.Client.Put(t.Context(), instance("lock", "l-1")); err != nil {
		t.Error(err)
	}
}

// TestFullDisk fills the file system under a running server: writes are refused
// with the reason, reads go on, readiness says so; once there is room again it
// heals by itself, and a kill at any time loses nothing.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIP: a small file system cannot be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	p := process.Serve(t, dir+"/data")
	if _, err := p.Client.Put(t.Context(), instance("disk", "before")); err != nil {
		t.Fatal(err)
	}
	ballast, err := os.Create(dir + "/ballast")
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for chunk := make([]byte, 64<<10); ; {
		if _, err := ballast.Write(chunk); err != nil {
			break
		}
	}

	// Whatever the log had allocated ahead is used up first.
	acked := []string{"before"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := 0; ; n++ {
		i := instance("disk", fmt.Sprintf("d-%d", n))
		i.Metadata = map[string]string{"a": strings.Repeat("x", 500), "b": strings.Repeat("y", 500), "c": strings.Repeat("z", 500)}
		if _, err = p.Client.Put(ctx, i); err != nil {
			break
		}
		acked = append(acked, i.ID)
	}
	if !errors.Is(err, rollcall.ErrUnavailable) || !strings.Contains(err.Error(), "space") {
		t.Errorf("a write to a full disk: %v", err)
	}
	if code := get(t, p, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("readyz answers %d", code)
	}
	if st, err := p.Client.Status(t.Context()); err != nil || st.Writable || st.Reason == "" {
		t.Errorf("status %+v, %v", st, err)
	}
	have := func(p *process.Process) {
		t.Helper()
		ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: "disk"})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, i := range ans.Instances {
			ids[i.ID] = true
		}
		for _, id := range acked {
			if !ids[id] {
				t.Errorf("%s was acknowledged and is gone", id)
			}
		}
	}
	have(p)

	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	if err := ballast.Close(); err != nil {
		t.Fatal(err)
	}
	process.Eventually(t, 20*time.Second, func() error {
		_, err := p.Client.Put(t.Context(), instance("disk", "after"))
		return err
	})
	acked = append(acked, "after")
	if code := get(t, p, "/readyz"); code != http.StatusOK {
		t.Errorf("readyz answers %d after it", code)
	}
	p.Kill()
	have(process.Serve(t, dir+"/data"))
}

func get(t *testing.T, p *process.Process, path string) int {
	t.Helper()
	resp, err := http.Get("http://" + p.Addr + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
