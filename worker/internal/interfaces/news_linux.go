package interfaces

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// parseNews reads what the kernel has sent at once: rtnetlink(7). What it does not understand is news about everything.
func parseNews(datagram []byte) []news {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return []news{{}}
	}
	all := make([]news, len(messages))
	for i := range messages {
		all[i] = parseMessage(&messages[i])
	}
	return all
}

func parseMessage(message *syscall.NetlinkMessage) news {
	attributes, err := syscall.ParseNetlinkRouteAttr(message)
	if err != nil {
		return news{}
	}
	switch message.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// struct ifinfomsg: family, padding, type, index. The family is a bridge's when a port leaves it, but stays.
		return news{
			index: int(binary.NativeEndian.Uint32(message.Data[4:])),
			name:  string(bytes.TrimRight(attribute(attributes, unix.IFLA_IFNAME), "\x00")),
			gone:  message.Header.Type == unix.RTM_DELLINK && message.Data[0] == unix.AF_UNSPEC,
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// struct ifaddrmsg: family, prefix length, flags, scope, index.
		return news{index: int(binary.NativeEndian.Uint32(message.Data[4:]))}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		// struct rtmsg: family, length of the destination's prefix, ... A default route decides what may be left out.
		device := attribute(attributes, unix.RTA_OIF)
		if message.Data[1] == 0 || len(device) != 4 {
			return news{}
		}
		return news{index: int(binary.NativeEndian.Uint32(device))}
	}
	return news{}
}

func attribute(attributes []syscall.NetlinkRouteAttr, kind uint16) []byte {
	for _, each := range attributes {
		if each.Attr.Type == kind {
			return each.Value
		}
	}
	return nil
}
