package roundtrip

import (
	"net"
	"net/http"
	"net/url"
	"time"
)

// toInstance marks, in a context, a request that goes to an instance.
type toInstance struct{}

// direct is what requests go through unless something else is given: a clone of
// [http.DefaultTransport] that keeps more idle connections to each instance, gives up
// sooner on one that cannot be reached, and asks no proxy for the way to instances.
func direct() http.RoundTripper {
	t := &http.Transport{ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second, ExpectContinueTimeout: time.Second}
	if of, ok := http.DefaultTransport.(*http.Transport); ok {
		t = of.Clone()
	}
	t.DialContext = (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.IdleConnTimeout = 0, 100, 30*time.Second
	proxy := t.Proxy
	t.Proxy = nil
	if proxy != nil {
		t.Proxy = aroundInstances(proxy)
	}
	return t
}

// aroundInstances asks proxy for all requests but those to instances.
func aroundInstances(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if r.Context().Value(toInstance{}) != nil {
			return nil, nil
		}
		return proxy(r)
	}
}
