package service

import (
	"errors"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// listenError marks an error of a listener.
type listenError struct {
	address string
	err     error
}

func (e *listenError) Error() string {
	return "cannot listen on " + e.address + ": " + e.err.Error() + "; choose another listenAddr"
}

func (e *listenError) Unwrap() error { return e.err }

// explain finds the reason word for an error. The errors carry their remedy with them.
func explain(err error) (protocol.ServiceStatusReason, string) {
	var locked *custody.LockedError
	var unusable *custody.UnusableError
	var keys *node.StateError
	var listen *listenError
	switch {
	case errors.As(err, &locked):
		return protocol.ServiceStatusReasonStateDirLocked, sentence(err.Error())
	case errors.As(err, &unusable), errors.As(err, &keys):
		return protocol.ServiceStatusReasonStateDirUnusable, sentence(err.Error())
	case errors.As(err, &listen):
		return protocol.ServiceStatusReasonListenFailed, sentence(err.Error())
	default:
		return protocol.ServiceStatusReasonNodeFailed, sentence(err.Error())
	}
}

// refusal explains that control will not have the node.
func (s *Service) refusal(status node.Status) (protocol.ServiceStatusReason, string) {
	if s.instance.hadAuthKey {
		return protocol.ServiceStatusReasonAuthKeyRefused,
			"The control server refused the auth key: " + status.Problem + ". Put a valid one in the place of authkeyPath."
	}
	remedy := " Log it in again, or see what the control server says of this node."
	if strings.Contains(status.Problem, "requires logging") {
		remedy = " Set supervisor.logUpload for this tailnet."
	}
	return protocol.ServiceStatusReasonNodeFailed, "The control server refused the node: " + status.Problem + "." + remedy
}

func startingMessage(status node.Status) string {
	if status.Problem == "" {
		return "The node is starting."
	}
	return "The node is starting; the last try failed: " + status.Problem
}

// orUnknown is what is known of a trouble, with where to look when that is nothing.
func orUnknown(problem string) string {
	if problem == "" {
		return "the control server did not answer; check its URL and the network of this host."
	}
	return problem
}

func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
