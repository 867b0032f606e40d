package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// searchPath is the PATH of commands, which get nothing of the registry's own
// environment.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// probeExec runs a command: healthy is the exit status 0, anything else is
// unhealthy. There is no shell.
func (p *prober) probeExec(ctx context.Context, key rollcall.Key, t *Target, c *rollcall.Check, command []string) Outcome {
	switch {
	case !t.Configured:
		return unhealthy("checks of type exec are for services of the server's own configuration file")
	case !p.exec:
		return unhealthy("checks of type exec are off; whoever runs the server may turn them on in its configuration")
	case !filepath.IsAbs(command[0]):
		return unhealthy("%q is not the whole path of a program", command[0])
	}
	var out bounded
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = environment(key, t, c)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 100 * time.Millisecond // for those who inherited its output
	ownGroup(cmd)
	err := cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil && err != nil:
		return failed(ctx.Err())
	case exited:
		return unhealthy("%v: %s", exit, out.b)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return failed(err)
	}
	return Outcome{Status: rollcall.Healthy, Output: clean("exit status 0: " + string(out.b))}
}

// environment tells a command about the instance.
func environment(key rollcall.Key, t *Target, c *rollcall.Check) []string {
	env := []string{
		"PATH=" + searchPath, "LANG=C.UTF-8",
		"ROLLCALL_NAMESPACE=" + key.Namespace, "ROLLCALL_SERVICE=" + key.Service, "ROLLCALL_ID=" + key.ID,
		"ROLLCALL_ADDRESS=" + t.Address, "ROLLCALL_CHECK=" + c.Name,
	}
	if port, err := portOf(t.Ports, c, ""); err == nil {
		env = append(env, fmt.Sprintf("ROLLCALL_PORT=%d", port))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Ports)) {
		upper := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name))
		env = append(env, fmt.Sprintf("ROLLCALL_PORT_%s=%d", upper, t.Ports[name]))
	}
	return env
}

// bounded keeps the first maxBody bytes that are written to it.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), maxBody-len(w.b))]...)
	return len(p), nil
}
