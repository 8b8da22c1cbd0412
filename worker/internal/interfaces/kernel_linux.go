package interfaces

import (
	"errors"
	"net"
	"os"

	"github.com/jsimonetti/rtnetlink"
	"golang.org/x/sys/unix"
	"tailscale.com/net/netmon"
)

// Routes are among the groups because the default route decides which interface must not be hidden.
const newsGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// kernel is a source fed by one netlink subscription.
type kernel struct {
	socket *os.File // a blocking one, so that the runtime's poller does not watch it
	alarm  *os.File // an epoll of the socket that goes off once, until wait sets it again
	buffer [32 << 10]byte
}

// openKernel subscribes. On an error the returned source still lists, but has no news.
func openKernel() (*kernel, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return &kernel{}, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: newsGroups}); err != nil {
		unix.Close(fd)
		return &kernel{}, os.NewSyscallError("bind", err)
	}
	alarm, err := newAlarm(fd)
	if err != nil {
		unix.Close(fd)
		return &kernel{}, err
	}
	return &kernel{socket: os.NewFile(uintptr(fd), "netlink"), alarm: alarm}, nil
}

// newAlarm makes an epoll of the socket. The runtime's poller watches that and not the socket: it would wake this process for
// each of the dozen messages that a container's start is, also while nobody waits for one.
func newAlarm(socket int) (*os.File, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(socket)})
	if err == nil {
		err = unix.SetNonblock(fd, true) // what os.NewFile asks of a file that the poller is to watch
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return os.NewFile(uintptr(fd), "epoll"), nil
}

func (k *kernel) close() error {
	if k.socket == nil {
		return nil
	}
	return errors.Join(k.alarm.Close(), k.socket.Close())
}

func (k *kernel) wait() error {
	socket, err := k.socket.SyscallConn()
	if err != nil {
		return err
	}
	alarm, err := k.alarm.SyscallConn()
	if err != nil {
		return err
	}
	var socketErr, setErr error
	err = alarm.Control(func(fd uintptr) {
		socketErr = socket.Control(func(watched uintptr) {
			setErr = unix.EpollCtl(int(fd), unix.EPOLL_CTL_MOD, int(watched),
				&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(watched)})
		})
	})
	if err := errors.Join(err, socketErr, setErr); err != nil {
		return err
	}
	return alarm.Read(func(fd uintptr) (ready bool) {
		count, err := unix.EpollWait(int(fd), make([]unix.EpollEvent, 1), 0)
		return count > 0 && err == nil
	})
}

// drain may not be called by two goroutines at once.
func (k *kernel) drain() (all []news) {
	raw, err := k.socket.SyscallConn()
	if err != nil {
		return []news{{}}
	}
	err = raw.Control(func(fd uintptr) {
		for {
			count, _, flags, _, err := unix.Recvmsg(int(fd), k.buffer[:], nil, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS), err == nil && flags&unix.MSG_TRUNC != 0:
				all = append(all, news{}) // more came than there was room for
			case err != nil:
				return
			default:
				all = append(all, parseNews(k.buffer[:count])...)
			}
		}
	})
	if err != nil {
		return []news{{}}
	}
	return all
}

// list makes two dumps, links and addresses, whatever the number of interfaces.
func (k *kernel) list() ([]netmon.Interface, []string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	connection, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, nil, err
	}
	defer connection.Close()
	addresses, err := connection.Address.List()
	if err != nil {
		return nil, nil, err
	}
	byIndex := map[int][]net.Addr{}
	for _, address := range addresses {
		// On a point-to-point link Address is the other end, and Local is ours.
		ip, bits := address.Attributes.Local, 8*net.IPv6len
		if ip == nil {
			ip = address.Attributes.Address
		}
		if ip.To4() != nil {
			bits = 8 * net.IPv4len
		}
		prefix := &net.IPNet{IP: ip, Mask: net.CIDRMask(int(address.PrefixLength), bits)}
		byIndex[int(address.Index)] = append(byIndex[int(address.Index)], prefix)
	}
	all := make([]netmon.Interface, len(links))
	for i := range links {
		own := byIndex[links[i].Index]
		if own == nil {
			own = []net.Addr{} // nil would make netmon ask the kernel after all
		}
		all[i] = netmon.Interface{Interface: &links[i], AltAddrs: own}
	}
	return all, defaultRouteInterfaces(), nil
}
