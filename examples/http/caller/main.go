// Command caller calls the service hello ten times a second, each time the instance
// that is picked. The registry is at ROLLCALL_ADDR.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := client.Dial(os.Getenv("ROLLCALL_ADDR"), client.WithCaller("example-caller"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	web := &http.Client{Transport: c.Transport(nil), Timeout: 5 * time.Second}

	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if said, err := get(ctx, web, "http://hello/"); err != nil {
				log.Print(err)
			} else {
				fmt.Print(said)
			}
		}
	}
}

func get(ctx context.Context, web *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := web.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}
