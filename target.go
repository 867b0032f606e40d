package rollcall

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Target is where a probe goes, as a check's target spells it.
type Target struct {
	// Host is a name or IP address; empty is the instance's own address.
	Host string
	// Port is a number, or the name of one of the instance's ports; empty leaves
	// it to the probe.
	Port string
	// Path is what an http or https probe asks for, "/" if nothing was said, and
	// the service that a grpc probe asks about, empty for the whole server.
	Path string
	// Command is what an exec probe runs: a program and its arguments.
	Command []string
}

// ParseTarget reads the check's target. PORT is a number or, without a HOST,
// the name of one of the instance's ports:
//
//	http, https  ""  "/path"     ":PORT"  ":PORT/path"     "http://HOST:PORT/path"
//	tcp          ""              ":PORT"                   "HOST:PORT"
//	grpc         ""  "/service"  ":PORT"  ":PORT/service"  "HOST:PORT/service"
//	exec         "program argument ...", split at spaces; there is no quoting
//
// An error is an [*Error] about the field "target".
func (c *Check) ParseTarget() (t Target, err error) {
	detail := ""
	switch c.Type {
	case CheckHTTP, CheckHTTPS:
		t, detail = parseURL(string(c.Type), c.Target)
	case CheckTCP:
		t, detail = parseHostPort(c.Target)
	case CheckGRPC:
		where, service, _ := strings.Cut(c.Target, "/")
		t, detail = parseHostPort(where)
		if t.Path = service; detail == "" && !printable(service) {
			detail = "names a service with characters other than printable ASCII"
		}
	case CheckExec:
		if t.Command = strings.Fields(c.Target); len(t.Command) == 0 || strings.ContainsRune(c.Target, 0) {
			detail = "is required for a check of type exec: a program and its arguments"
		}
	default:
		detail = fmt.Sprintf("does not belong to a check of type %.40q", c.Type)
	}
	if detail != "" {
		return Target{}, Invalid("target", detail)
	}
	return t, nil
}

// parseURL reads the target of an http or https check.
func parseURL(scheme, s string) (t Target, detail string) {
	rest, absolute := strings.CutPrefix(s, scheme+"://")
	where, path, _ := strings.Cut(rest, "/")
	if !printable(path) || strings.Contains(path, "#") {
		return t, "has a path with characters other than printable ASCII; escape them as %XX"
	}
	switch {
	case absolute && where != "" && where[0] != ':':
		t, detail = parseAddress(where)
	case absolute || where != "" && where[0] != ':':
		detail = fmt.Sprintf(`%.80q is not a target: write it like "/path", ":8080/path" or "%s://10.0.0.1:8080/path"`, s, scheme)
	default:
		t, detail = parseHostPort(where)
	}
	if absolute && t.Port == "" {
		t.Port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	t.Path = "/" + path
	return t, detail
}

// parseHostPort reads "", ":PORT" or "HOST:PORT".
func parseHostPort(s string) (t Target, detail string) {
	if s == "" {
		return t, ""
	}
	if s[0] != ':' {
		if t, detail = parseAddress(s); detail == "" && t.Port == "" {
			detail = fmt.Sprintf(`%.80q names no port: write it like ":8080" or "10.0.0.1:8080"`, s)
		}
		return t, detail
	}
	if t.Port = s[1:]; !isPort(t.Port) {
		return t, fmt.Sprintf("%.80q is neither a port, 1 to 65535, nor the name of one", t.Port)
	}
	return t, ""
}

// parseAddress reads "HOST" or "HOST:PORT" of which an IPv6 address stands in
// brackets; the port is a number.
func parseAddress(s string) (t Target, detail string) {
	host, port, found := strings.Cut(s, ":")
	inner, bracket := strings.CutPrefix(s, "[")
	closed := false
	if bracket {
		host, port, closed = strings.Cut(inner, "]")
		port, found = strings.CutPrefix(port, ":")
		found = found || port != ""
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case bracket && (!closed || err != nil || !ip.Is6() || ip.Zone() != ""), !bracket && !hostName(host), len(host) > maxAddress:
		return t, fmt.Sprintf("%.80q is neither an IP address nor a host name", host)
	case found && (!isPort(port) || strings.Trim(port, "0123456789") != ""):
		return t, fmt.Sprintf("%.80q is not a port: 1 to 65535", port)
	}
	return Target{Host: host, Port: port}, ""
}

// isPort reports whether s is the number of a port, or may be the name of one.
func isPort(s string) bool {
	if strings.Trim(s, "0123456789") != "" {
		return CheckName("", s) == nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
