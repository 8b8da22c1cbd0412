package service

import (
	"context"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// directory is the state directory of an instance to come: on its way to us, or ours.
type directory struct {
	opened chan openedDirectory // gets the outcome, once
	cancel context.CancelFunc
	held   custody.Holding
}

type openedDirectory struct {
	dir custody.Holding
	err error
}

// openDirectory opens the directory of the spec: at once, or in standby as soon as its holder lets go.
func openDirectory(spec protocol.ServiceSpec, options Options) *directory {
	ctx, cancel := context.WithCancel(context.Background())
	d := &directory{opened: make(chan openedDirectory, 1), cancel: cancel}
	if !standsBy(spec) {
		cancel()
	}
	go func() {
		dir, err := options.Keeper.Await(ctx, spec.Exposure.Node.StateDir, options.Holder)
		d.opened <- openedDirectory{dir, err}
		close(d.opened)
	}()
	return d
}

// take hands the directory over to who closes it from now on.
func (d *directory) take() custody.Holding {
	d.cancel()
	dir := d.held
	d.held = nil
	return dir
}

// close gives up the directory, whether it is ours by now or not.
func (d *directory) close() {
	d.cancel()
	if late := <-d.opened; late.dir != nil {
		d.held = late.dir
	}
	if d.held != nil {
		d.held.Close()
	}
}
