package interfaces

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// monitorGroups are the multicast groups to which a netmon.Monitor subscribes. Rules matter only to a node that sets up the
// host's routing, which a tsnet node does not; of all others the table has news.
var monitorGroups = []int{
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE,
}

// takeOver takes every routing socket of this process but our own out of the groups to which monitors subscribe.
//
// A netmon.Monitor gives no way to its socket, so it is found by what the kernel says of each descriptor: nothing else in
// this process wants news of routing, and leaving a group that a socket is not in does nothing. If a descriptor is closed
// and its number used anew in between, the call fails or does the same to a later monitor's.
func (k *kernel) takeOver() error {
	if k.socket == nil {
		return errors.New("there is no subscription in their stead")
	}
	own, err := k.inode()
	if err != nil {
		return err
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, each := range descriptors {
		fd, err := strconv.Atoi(each.Name())
		if err != nil || !isRoutingSocket(fd) {
			continue
		}
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) != nil || stat.Ino == own {
			continue
		}
		if err := leaveGroups(fd); err != nil {
			return err
		}
	}
	return nil
}

// inode identifies our own socket.
func (k *kernel) inode() (uint64, error) {
	raw, err := k.socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	var statErr error
	if err := raw.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &stat) }); err != nil {
		return 0, err
	}
	return stat.Ino, statErr
}

func isRoutingSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_NETLINK {
		return false
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && protocol == unix.NETLINK_ROUTE
}

func leaveGroups(fd int) error {
	for _, group := range monitorGroups {
		err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, group)
		if err != nil && !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.ENOTSOCK) && !errors.Is(err, unix.ENOPROTOOPT) {
			return fmt.Errorf("leaving netlink group %d: %w", group, err)
		}
	}
	return nil
}
