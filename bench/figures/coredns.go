package figures

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
)

// coreVersion is the CoreDNS that is compared with, unless -coredns names another binary.
const coreVersion = "v1.15.0"

// corePath is where CoreDNS is kept.
func corePath() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "rollcall-bench", "coredns-"+coreVersion, "coredns"), err
}

// buildCore builds CoreDNS, once for all runs, and returns where it is.
func (b *Bench) buildCore() (string, error) {
	binary, err := corePath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	b.progress("building CoreDNS %s, which takes some minutes", coreVersion)
	cmd := exec.Command("go", "install", "github.com/coredns/coredns@"+coreVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(binary), "GOFLAGS=", "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return binary, nil
}

// core returns the binary of CoreDNS; ok is false if there is none, which is said.
func (b *Bench) core() (binary string, ok bool) {
	if b.CoreDNS != "" {
		return b.CoreDNS, true
	}
	binary, err := b.buildCore()
	if err != nil {
		b.progress("CoreDNS is left out, because it cannot be built: %v", err)
	}
	return binary, err == nil
}

// startCore starts one that answers by a plugin, file or hosts, what Rollcall answers about a
// fleet. ok is false if there is none.
func (b *Bench) startCore(plugin string, f fleet) (s Server, ok bool, err error) {
	binary, ok := b.core()
	if !ok {
		return s, false, nil
	}
	dir, err := os.MkdirTemp(b.dir, "coredns-")
	if err != nil {
		return s, false, err
	}
	data := map[string]func(w io.Writer, services, instances int) error{"file": driver.Zone, "hosts": driver.Hosts}[plugin]
	file, corefile := filepath.Join(dir, plugin), filepath.Join(dir, "Corefile")
	w, err := os.Create(file)
	if err != nil {
		return s, false, err
	}
	if err := errors.Join(data(w, f.services, f.instances), w.Close()); err != nil {
		return s, false, err
	}
	port, err := freePort()
	if err != nil {
		return s, false, err
	}
	if err := os.WriteFile(corefile, []byte(driver.Corefile(plugin, file, port, runtime.NumCPU())), 0o644); err != nil {
		return s, false, err
	}
	p, err := child.Exec(func(line string) (string, bool) {
		return fmt.Sprint("127.0.0.1:", port), strings.HasPrefix(line, "CoreDNS-")
	}, binary, "-conf", corefile)
	if err != nil {
		return s, false, err
	}
	return b.owned("coredns-"+plugin, p), true, nil
}

// freePort returns a port at which nobody listens over UDP or TCP.
func freePort() (int, error) {
	for range 100 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		defer l.Close()
		c, err := net.ListenPacket("udp4", l.Addr().String())
		if err != nil {
			continue
		}
		c.Close()
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	return 0, errors.New("no port is free")
}
