// Package address reads the addresses of servers.
package address

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Server is one of the addresses a client was given.
type Server struct {
	// Base is where HTTP is spoken, also by servers of gRPC:
	// "http://127.0.0.1:7070", without a final slash.
	Base string
	Name string // as errors show it
	GRPC bool
	Host string // of gRPC: "127.0.0.1:7071"
	TLS  bool
}

const (
	httpPort = "7070"
	grpcPort = "7071"
)

// Parse reads one address or several, separated by commas, that speak one
// protocol. None is that of otherwise.
func Parse(addr, otherwise string) ([]Server, error) {
	if strings.TrimSpace(addr) == "" {
		addr = otherwise
	}
	var servers []Server
	for one := range strings.SplitSeq(addr, ",") {
		s, err := parse(strings.TrimSpace(one))
		if err != nil {
			return nil, fmt.Errorf("%q is not an address: %w; write it like 127.0.0.1:7070, grpc://127.0.0.1:7071 or https://registry.example", one, err)
		}
		servers = append(servers, s)
	}
	for _, s := range servers[1:] {
		if s.GRPC != servers[0].GRPC {
			return nil, fmt.Errorf("%q mixes servers that are spoken to by gRPC and by HTTP; give addresses of one kind", addr)
		}
	}
	return servers, nil
}

func parse(addr string) (Server, error) {
	bare := !strings.Contains(addr, "://")
	if bare {
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
	case u.Hostname() == "":
		return Server{}, errors.New("it names no host")
	case u.User != nil:
		return Server{}, errors.New("it holds credentials, which belong into the token")
	case u.RawQuery != "" || u.Fragment != "":
		return Server{}, errors.New("it goes on after the path")
	}
	switch u.Scheme {
	case "http", "https":
		if !bare || u.Port() != grpcPort {
			return overHTTP(u), nil
		}
		return overGRPC(u)
	case "grpc", "grpcs":
		return overGRPC(u)
	}
	return Server{}, fmt.Errorf("the scheme %q is none of http, https, grpc and grpcs", u.Scheme)
}

func overHTTP(u *url.URL) Server {
	if u.Port() == "" && u.Scheme == "http" {
		u.Host = net.JoinHostPort(u.Hostname(), httpPort)
	}
	s := Server{Base: strings.TrimRight(u.String(), "/"), TLS: u.Scheme == "https"}
	s.Name = strings.TrimPrefix(s.Base, "http://")
	return s
}

func overGRPC(u *url.URL) (Server, error) {
	if strings.Trim(u.Path, "/") != "" {
		return Server{}, errors.New("gRPC has no place for a path")
	}
	s := Server{GRPC: true, TLS: u.Scheme == "grpcs"}
	port := u.Port()
	if port == "" {
		if port = grpcPort; s.TLS {
			port = "443"
		}
	}
	s.Host = net.JoinHostPort(u.Hostname(), port)
	s.Name, s.Base = s.Host, "http://"+s.Host
	if s.TLS {
		s.Name, s.Base = "grpcs://"+s.Host, "https://"+s.Host
	}
	return s, nil
}
