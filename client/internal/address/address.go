// Package address reads the addresses of servers.
package address

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Server is one of the addresses a client was given.
type Server struct {
	Base string // "http://127.0.0.1:7070", without a final slash
	Name string // as errors show it
}

// Parse reads one address or several, separated by commas. None is that of
// otherwise; one without a port has port.
func Parse(addr, otherwise, port string) ([]Server, error) {
	if strings.TrimSpace(addr) == "" {
		addr = otherwise
	}
	var servers []Server
	for one := range strings.SplitSeq(addr, ",") {
		s, err := parse(strings.TrimSpace(one), port)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address: %w; write it like 127.0.0.1:7070 or https://registry.example", one, err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

func parse(addr, port string) (Server, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil:
		// A *url.Error repeats the whole address, password and all.
		if e, ok := err.(*url.Error); ok {
			err = e.Err
		}
		return Server{}, err
	case u.Scheme != "http" && u.Scheme != "https":
		return Server{}, fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return Server{}, fmt.Errorf("it names no host")
	case u.User != nil:
		return Server{}, fmt.Errorf("it holds credentials, which belong into the token")
	case u.RawQuery != "" || u.Fragment != "":
		return Server{}, fmt.Errorf("it goes on after the path")
	}
	if u.Port() == "" && u.Scheme == "http" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	base := strings.TrimRight(u.String(), "/")
	name := base
	if plain, ok := strings.CutPrefix(base, "http://"); ok {
		name = plain
	}
	return Server{Base: base, Name: name}, nil
}
