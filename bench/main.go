// Program bench measures Rollcall against what it is to reach, against the limits of the
// machine and, if they are there, against other registries. See README.md.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/figures"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
)

func main() {
	child.Main(figures.Roles())
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const usage = `bench measures Rollcall:

  go run . [flags] [figure...]            measure figures, all if none is named, and print the table
  go run . [-markdown] table FOLDER       print the table of earlier results
  go run . [-images FOLDER] plot FOLDER   draw the curves of earlier results, as SVG

`

// run is the program, as it is typed.
func run(args []string, out, progress io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.Usage = func() { fmt.Fprint(f.Output(), usage); f.PrintDefaults() }
	o := figures.Options{Progress: progress}
	list := f.Bool("list", false, "list the figures")
	folder := f.String("out", "", "folder for raw results; default results/DATE-COMMIT")
	f.IntVar(&o.Rounds, "rounds", 5, "rounds of each side, interleaved")
	f.DurationVar(&o.Length, "duration", 3*time.Second, "length of a round")
	f.DurationVar(&o.Warmup, "warmup", 5*time.Second, "warm-up of each side, once")
	f.BoolVar(&o.Short, "short", false, "2 rounds of 1 s and little data, to see that it works")
	f.DurationVar(&o.Churn, "churn", time.Minute, "length of the figure churn, 20m for its goal")
	f.StringVar(&o.Binary, "rollcall-binary", "../bin/rollcall", "the binary to start")
	f.StringVar(&o.Data, "data", os.TempDir(), "folder for data, on the disk to measure")
	peer := func(p *figures.Peer, name, what string) {
		f.StringVar(&p.Addr, name, "", "host:port of "+what)
		f.IntVar(&p.PID, name+"-pid", 0, "its process, to count CPU-seconds")
	}
	peer(&o.Rollcall, "rollcall", "a Rollcall server that runs already; the default is to start one")
	peer(&o.Consul, "consul", "a Consul agent to compare with")
	peer(&o.Etcd, "etcd", "an etcd server to compare with")
	f.BoolVar(&o.Embed, "etcd-embedded", false, "start an etcd to compare with, of the library this program is built with")
	f.StringVar(&o.CoreDNS, "coredns", "", "the binary of a CoreDNS to compare with; the default is to build one, and to keep it in the user's cache")
	markdown := f.Bool("markdown", false, "print the table in Markdown")
	images := f.String("images", ".", "folder to draw charts in")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.Arg(0) == "plot" {
		return draw(f.Arg(1), *images)
	}
	if f.Arg(0) == "table" {
		return reprint(out, f.Arg(1), *markdown)
	}
	chosen := figures.Find(f.Args())
	if *list {
		for _, c := range figures.All() {
			fmt.Fprintf(out, "%-16s %s\n", c.Name, c.What)
		}
		return nil
	}
	if o.Short {
		o.Rounds, o.Length, o.Warmup = 2, time.Second, time.Second/2
	}
	o.Rollcall.Addr = strings.TrimSuffix(strings.TrimPrefix(o.Rollcall.Addr, "http://"), "/")
	return measure(o, chosen, *folder, out, args)
}

// reprint prints the table of earlier results.
func reprint(out io.Writer, folder string, markdown bool) error {
	r, err := report.Open(folder)
	if err != nil {
		return err
	}
	if markdown {
		return r.Markdown(out, figures.Rows())
	}
	return r.Table(out, figures.Rows())
}

// draw draws the curves of earlier results.
func draw(folder, images string) error {
	r, err := report.Open(folder)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	for _, c := range figures.Charts(r) {
		var b bytes.Buffer
		if err := c.Draw(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(images, c.Name+".svg"), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measure measures the figures and prints their table, also if one of them fails.
func measure(o figures.Options, chosen []figures.Figure, folder string, out io.Writer, args []string) (err error) {
	if len(chosen) == 0 {
		return fmt.Errorf("no such figure; see -list")
	}
	run := report.Run{Commit: commit(), Start: time.Now(), Args: args, Machine: proc.Here(o.Data)}
	if folder == "" {
		folder = filepath.Join("results", run.Start.Format("2006-01-02")+"-"+run.Commit)
	}
	r, err := report.Create(folder, run)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := figures.New(o, r)
	if err != nil {
		return err
	}
	defer b.Close()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.Close()
		os.Exit(130)
	}()
	for _, f := range chosen {
		if err = b.Measure(f); err != nil {
			break
		}
	}
	var rows []report.Row
	for _, f := range chosen {
		rows = append(rows, f.Rows...)
	}
	if terr := r.Table(out, rows); err == nil {
		err = terr
	}
	fmt.Fprintf(out, "\nraw rounds: %s\n", folder)
	return err
}

// commit names the state of the source that is measured.
func commit() string {
	text, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude", "*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
