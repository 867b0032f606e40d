package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is a wire from this network namespace to another one.
type Network struct {
	Name       string // of the other namespace
	Here, Away string // addresses at the ends of the wire
	nearEnd    string // interfaces at them
	farEnd     string
}

// nowhere is the link-layer address of nobody: what is sent there is lost on the
// wire, and no end of it is told so.
const nowhere = "02:00:00:00:00:99"

// NewNetwork lays a wire, or skips the test where that cannot be done. n, 0 to 15,
// tells the wires of one process apart.
func NewNetwork(t testing.TB, n int) *Network {
	t.Helper()
	id := os.Getpid()*16 + n
	w := &Network{
		Name: fmt.Sprintf("rollcall-%d", id), nearEnd: fmt.Sprintf("rc%dn", id%1e6), farEnd: fmt.Sprintf("rc%df", id%1e6),
		// Of RFC 2544, which nobody has in use.
		Here: fmt.Sprintf("198.18.%d.%d", id>>6&255, id<<2&255|1), Away: fmt.Sprintf("198.18.%d.%d", id>>6&255, id<<2&255|2),
	}
	if err := ip("netns", "add", w.Name); err != nil {
		t.Skipf("SKIP: a network namespace cannot be made here: %v", err)
	}
	t.Cleanup(func() { ip("netns", "del", w.Name) }) // and the wire with it
	for _, args := range [][]string{
		{"link", "add", w.nearEnd, "type", "veth", "peer", "name", w.farEnd, "netns", w.Name},
		{"addr", "add", w.Here + "/30", "dev", w.nearEnd},
		{"link", "set", w.nearEnd, "up"},
		{"-n", w.Name, "addr", "add", w.Away + "/30", "dev", w.farEnd},
		{"-n", w.Name, "link", "set", w.farEnd, "up"},
		{"-n", w.Name, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Skipf("SKIP: no wire can be laid between network namespaces here: %v", err)
		}
	}
	return w
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Inside is what a command is begun with to run at the other end.
func (n *Network) Inside() []string { return []string{"ip", "netns", "exec", n.Name} }

// Etc has commands that begin with Inside find text as a file of /etc that there is
// here as well, "resolv.conf".
func (n *Network) Etc(t testing.TB, file, text string) {
	t.Helper()
	top, _, _ := strings.Cut(file, "/")
	if _, err := os.Stat("/etc/" + top); err != nil {
		t.Skipf("SKIP: a namespace cannot be given files that are not there here: %v", err)
	}
	dir := filepath.Join("/etc/netns", n.Name)
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Skipf("SKIP: a namespace cannot be given files of its own here: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// AddAddress gives the near end of the wire another address, and returns it.
func (n *Network) AddAddress(t testing.TB) string {
	t.Helper()
	addr := strings.Replace(n.Here, "198.18.", "198.19.", 1) // of RFC 2544 as well
	for _, args := range [][]string{
		{"addr", "add", addr + "/32", "dev", n.nearEnd},
		{"-n", n.Name, "route", "add", addr, "via", n.Here},
	} {
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	return addr
}

// Dial connects from the other end.
func (n *Network) Dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	c, err := n.dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dial makes a socket in the other namespace: it belongs to the one that the thread
// that made it was in.
func (n *Network) dial(network, addr string) (net.Conn, error) {
	away, err := os.Open(filepath.Join("/run/netns", n.Name))
	if err != nil {
		return nil, err
	}
	defer away.Close()
	type dialled struct {
		c   net.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is of no use to others, and ends
		if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- dialled{nil, err}
			return
		}
		c, err := net.Dial(network, addr)
		done <- dialled{c, err}
	}()
	d := <-done
	return d.c, d.err
}

// Cut loses what is sent from the other end, and unless oneWay what is sent from
// this one.
func (n *Network) Cut(t testing.TB, oneWay bool) {
	t.Helper()
	if err := ip("-n", n.Name, "neigh", "replace", n.Here, "lladdr", nowhere, "dev", n.farEnd, "nud", "permanent"); err != nil {
		t.Fatal(err)
	}
	if oneWay {
		return
	}
	if err := ip("neigh", "replace", n.Away, "lladdr", nowhere, "dev", n.nearEnd, "nud", "permanent"); err != nil {
		t.Fatal(err)
	}
}

// Heal ends a cut.
func (n *Network) Heal(t testing.TB) {
	t.Helper()
	ip("neigh", "del", n.Away, "dev", n.nearEnd) // if it was cut both ways
	if err := ip("-n", n.Name, "neigh", "del", n.Here, "dev", n.farEnd); err != nil {
		t.Fatal(err)
	}
}

// Serve starts a server at this end of a wire.
func (n *Network) Serve(t testing.TB, args ...string) *Process {
	t.Helper()
	return Serve(t, filepath.Join(t.TempDir(), "data"), append([]string{"--http", n.Here + ":0", "--grpc", n.Here + ":0", "--insecure"}, args...)...)
}
