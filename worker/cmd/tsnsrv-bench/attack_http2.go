package main

import (
	"context"

	"golang.org/x/net/http2/hpack"
)

// streamsEach is how many streams one connection asks for; Go's server allows 250.
const streamsEach = 100

func unfinishedHeaderBlock(ctx context.Context, to target) (held, error) {
	return beginStreams(ctx, to, openWindow, func(s *streams) error {
		names, value := longFields()
		fields := []hpack.HeaderField{}
		for _, name := range names {
			fields = append(fields, hpack.HeaderField{Name: name, Value: value})
		}
		return s.ask(headerNeverEnds, "GET", "/", fields...)
	})
}

func stalledStream(path string) opener {
	return func(ctx context.Context, to target) (held, error) {
		return beginStreams(ctx, to, openWindow, func(s *streams) error {
			return s.ask(bodyStalls, "POST", path, hpack.HeaderField{Name: "content-length", Value: "5"})
		})
	}
}

func slowStreamReader(ctx context.Context, to target) (held, error) {
	return beginStreams(ctx, to, openWindow, func(s *streams) error {
		s.readsHeadOnly.Store(true)
		return s.ask(complete, "GET", largePath)
	})
}

func zeroWindowStreams(ctx context.Context, to target) (held, error) {
	return beginStreams(ctx, to, 0, func(s *streams) error {
		for range streamsEach {
			if err := s.ask(complete, "GET", largePath); err != nil {
				return err
			}
		}
		return nil
	})
}

func idleStreams(ctx context.Context, to target) (held, error) {
	return beginStreams(ctx, to, openWindow, func(*streams) error { return nil })
}
