package node

import (
	"os"

	"tailscale.com/envknob"
	"tailscale.com/logtail"
)

// ForgetEnvironment removes the variables from which tsnet would take credentials or a control server behind the back of
// the spec. Call it before the first node starts.
func ForgetEnvironment() {
	for _, name := range []string{
		"TS_AUTHKEY", "TS_AUTH_KEY", "TS_CLIENT_SECRET", "TS_CLIENT_ID", "TS_ID_TOKEN", "TS_AUDIENCE", "TS_CONTROL_URL",
	} {
		os.Unsetenv(name)
	}
}

// DisableLogUpload keeps the logs of all nodes of this process to this machine. Besides the upload it switches off the
// buffering for it, which would write each node's log into its state directory.
func DisableLogUpload() {
	envknob.SetNoLogsNoSupport()
	logtail.Disable()
}

// DisablePortMapping keeps all nodes of this process from asking the router for port mappings (NAT-PMP, PCP, UPnP). It
// matters to a host behind NAT only, whose peers then reach it by hole punching or a relay.
func DisablePortMapping() { envknob.Setenv("TS_DISABLE_PORTMAPPER", "true") }

var acknowledgeAtOnce bool

// AcknowledgeAtOnce has the nodes of this process acknowledge what they receive at once, by packets of their own. Call it before
// the first node starts.
func AcknowledgeAtOnce() { acknowledgeAtOnce = true }
