package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// relayRegion is out of the range that Tailscale uses for its own.
const relayRegion = 900

// relay runs DERP and STUN for a Headscale, and writes the DERP map that makes it known there.
func relay(ctx context.Context, c *console) error {
	host := c.flags.String("host", "127.0.0.1", "IPv4 `address` to listen on, as nodes see it")
	file := c.flags.String("derp-map", "", "YAML `file` to write for Headscale's derp.paths")
	ctx, err := c.parseUntilStdin(ctx)
	if err != nil {
		return err
	}
	if *file == "" {
		return fmt.Errorf("-derp-map is missing")
	}
	derpMap, stop, err := tailnet.StartRelay(*host)
	if err != nil {
		return err
	}
	defer stop()
	for _, region := range derpMap.Regions {
		if err := os.WriteFile(*file, []byte(headscaleDERPMap(region.Nodes[0])), 0o644); err != nil {
			return fmt.Errorf("writing the DERP map: %w", err)
		}
	}
	c.lines.print(event{Event: "ready"})
	<-ctx.Done()
	return nil
}

// headscaleDERPMap is a map of one region with one node. Headscale reads the names of tailcfg's fields in lower case.
func headscaleDERPMap(node *tailcfg.DERPNode) string {
	return strings.TrimLeft(fmt.Sprintf(`
regions:
  %[1]d:
    regionid: %[1]d
    regioncode: bench
    regionname: Bench
    nodes:
      - name: %[1]da
        regionid: %[1]d
        hostname: %[2]s
        ipv4: %[3]s
        ipv6: %[4]s
        stunport: %[5]d
        derpport: %[6]d
        insecurefortests: %[7]t
        stuntestip: %[8]s
`, relayRegion, node.HostName, node.IPv4, node.IPv6, node.STUNPort, node.DERPPort, node.InsecureForTests, node.STUNTestIP), "\n")
}
