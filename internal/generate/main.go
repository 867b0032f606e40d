// Command generate makes Go code of the protobuf files it is given, in the
// directory that it runs in; with -verify it only says whether that would change
// anything. It compiles them itself and runs the plugins as Go tools, so that
// nothing needs to be installed and nothing but the module proxy is asked for them.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are what is run, the first at the version of the protobuf module.
var plugins = []string{
	"google.golang.org/protobuf/cmd/protoc-gen-go",
	"google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
}

func main() {
	verify := flag.Bool("verify", false, "write nothing, and fail if there is something to write")
	flag.Parse()
	keep := write
	if *verify {
		keep = compare
	}
	if err := generate(context.Background(), flag.Args(), keep); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// keep is what is done with a file that was made.
type keep func(name, content string) error

func write(name, content string) error { return os.WriteFile(name, []byte(content), 0o644) }

func compare(name, content string) error {
	if is, err := os.ReadFile(name); err != nil || string(is) != content {
		return fmt.Errorf("%s is not what is made of the protobuf files; run make generate", name)
	}
	return nil
}

func generate(ctx context.Context, names []string, done keep) error {
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, names...)
	if err != nil {
		return err
	}
	var all []*descriptorpb.FileDescriptorProto
	for _, f := range files {
		all = append(all, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, plugin := range plugins {
		if err := run(ctx, plugin, names, all, done); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// run has a plugin make its files.
func run(ctx context.Context, plugin string, names []string, files []*descriptorpb.FileDescriptorProto, done keep) error {
	ask, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: names, ProtoFile: files, Parameter: proto.String("paths=source_relative"),
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(ask), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var made pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &made); err != nil {
		return err
	}
	if made.Error != nil {
		return fmt.Errorf("%s", *made.Error)
	}
	for _, f := range made.File {
		if err := done(f.GetName(), f.GetContent()); err != nil {
			return err
		}
	}
	return nil
}
