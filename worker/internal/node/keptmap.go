package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnlocal/netmapcache"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/netmap"
	"tailscale.com/util/mak"
)

// keptMap is the network map that a run of a node leaves to the next one, which is then up before control has answered.
//
// tailscale's backend reads such a map from a directory of the login profile whenever there is one. But it clears that
// directory whenever it takes up a map, be it this one, in which control does not grant it the node attribute
// cache-network-maps. So the kept map says that it does, and lies elsewhere but for the moment in which the backend starts: it
// survives control's answer, and a crash right after that.
//
// What it holds is only as secret as the list of peers: 0600 in 0700. It is not synced to disk; a torn one is not used.
type keptMap struct {
	keys       ipn.StateStore
	controlURL string
	ephemeral  bool               // each start makes a new node: there is nothing to keep
	profiles   string             // parent of the profiles' directories
	dir        string             // where the map is while the node runs
	sealFile   string             // what it is of
	cache      *netmapcache.Cache // of dir; it knows what it has written
	place      string             // where it was lent to
}

const keptMapName = "network-map"

// seal says what the kept map is of, and is written after it: a map that is not what its seal says is not used. So that the
// backend is never given a damaged one, which it may panic on, and a start need not read it twice.
type seal struct {
	ControlURL string         `json:"controlURL"`
	NodeKey    key.NodePublic `json:"nodeKey"`
	KeyExpiry  time.Time      `json:"keyExpiry,omitzero"`
	SHA256     string         `json:"sha256"` // see fingerprint
}

func newKeptMap(config Config, keys ipn.StateStore) *keptMap {
	m := &keptMap{
		keys:       keys,
		controlURL: config.ControlURL,
		ephemeral:  config.Ephemeral,
		profiles:   filepath.Join(config.Dir, "profile-data"),
		dir:        filepath.Join(config.Dir, keptMapName),
		sealFile:   filepath.Join(config.Dir, keptMapName+".json"),
	}
	m.cache = m.open()
	return m
}

func (m *keptMap) open() *netmapcache.Cache {
	return netmapcache.NewCache(atomicFiles{netmapcache.FileStore(m.dir)})
}

// lend puts the map where the backend looks for it, until takeBack. Without one that was certainly made for this login it
// makes sure that the backend finds none. It fails only when what must not be used cannot be removed.
func (m *keptMap) lend() (lent bool, err error) {
	login, err := m.login()
	if err != nil {
		m.forget()
		return false, nil // a backend without a login reads none
	}
	place := filepath.Join(m.profiles, string(login.profile), "netmap-cache")
	if _, err := os.Lstat(m.dir); errors.Is(err, fs.ErrNotExist) {
		_ = os.Rename(place, m.dir) // the last run has died while it was lent
	}
	if m.ephemeral || m.check(login) != nil {
		m.forget()
		return false, os.RemoveAll(place)
	}
	if err := os.RemoveAll(place); err != nil { // of a backend that keeps its own
		return false, err
	}
	m.place = place
	if errors.Join(os.MkdirAll(filepath.Dir(place), 0o700), os.Rename(m.dir, place)) != nil {
		return false, nil // nothing is in place, which is safe
	}
	return true, nil
}

// takeBack ends what lend began. The backend has read the map by now; if control was faster, a part of it is gone.
func (m *keptMap) takeBack() { _ = os.Rename(m.place, m.dir) }

// forget removes what is kept.
func (m *keptMap) forget() {
	m.cache = m.open()
	_ = os.Remove(m.sealFile)
	_ = os.RemoveAll(m.dir)
}

var errNotOurs = errors.New("the network map is not of this login, or not whole")

// check tells whether the map may be lent.
func (m *keptMap) check(login login) error {
	text, err := os.ReadFile(m.sealFile)
	if err != nil {
		return err
	}
	var of seal
	if err := json.Unmarshal(text, &of); err != nil {
		return err
	}
	if of.ControlURL != orDefault(m.controlURL) || of.ControlURL != login.controlURL || of.NodeKey != login.nodeKey {
		return errNotOurs
	}
	if !of.KeyExpiry.IsZero() && of.KeyExpiry.Before(time.Now()) {
		return errNotOurs // control decides what becomes of it
	}
	if found, err := fingerprint(m.dir); err != nil || found != of.SHA256 {
		return errNotOurs
	}
	return nil
}

// fingerprint is a hash of the names and contents of the files in a directory.
func fingerprint(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", entry.Name(), len(text))
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// keep replaces the map by a newer one. A map that was itself read from disk tells nothing new.
func (m *keptMap) keep(ctx context.Context, latest *netmap.NetworkMap, homeRelay int) error {
	if latest.Cached || !latest.SelfNode.Valid() || latest.GetAddresses().Len() == 0 {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	// With the relay of now a node takes it at once; without one it would measure the ways to all relays first, and be up
	// only then.
	self := latest.SelfNode.AsStruct()
	self.HomeDERP = homeRelay
	mak.Set(&self.CapMap, tailcfg.NodeAttrCacheNetworkMaps, nil)
	kept := *latest
	kept.SelfNode = self.View()
	if err := m.cache.Store(ctx, &kept); err != nil {
		return err
	}
	sum, err := fingerprint(m.dir)
	if err != nil {
		return err
	}
	text, err := json.Marshal(seal{
		ControlURL: orDefault(m.controlURL),
		NodeKey:    latest.NodeKey,
		KeyExpiry:  latest.SelfKeyExpiry(),
		SHA256:     sum,
	})
	if err != nil {
		return err
	}
	return replaceFile(m.sealFile, m.sealFile+".new", text)
}

// login is what the key file says of the current login.
type login struct {
	profile    ipn.ProfileID
	controlURL string
	nodeKey    key.NodePublic
}

func (m *keptMap) login() (login, error) {
	current, err := m.keys.ReadState(ipn.CurrentProfileStateKey)
	if err != nil {
		return login{}, err
	}
	text, err := m.keys.ReadState(ipn.KnownProfilesStateKey)
	if err != nil {
		return login{}, err
	}
	var profiles map[ipn.ProfileID]ipn.LoginProfile
	if err := json.Unmarshal(text, &profiles); err != nil {
		return login{}, err
	}
	for id, profile := range profiles {
		if string(profile.Key) != string(current) {
			continue
		}
		text, err := m.keys.ReadState(profile.Key)
		if err != nil {
			return login{}, err
		}
		prefs := ipn.NewPrefs()
		if err := ipn.PrefsFromBytes(text, prefs); err != nil {
			return login{}, err
		}
		if prefs.Persist == nil || prefs.Persist.PrivateNodeKey.IsZero() {
			break
		}
		return login{profile: id, controlURL: orDefault(prefs.ControlURL), nodeKey: prefs.Persist.PrivateNodeKey.Public()}, nil
	}
	return login{}, errors.New("no login yet")
}

func orDefault(controlURL string) string {
	if controlURL == "" {
		return ipn.DefaultControlURL
	}
	return controlURL
}

// atomicFiles is a FileStore whose files are replaced as a whole, so that a crash tears none, and only when they change.
type atomicFiles struct{ netmapcache.FileStore }

func (f atomicFiles) Store(_ context.Context, key string, value []byte) error {
	path := filepath.Join(string(f.FileStore), hex.EncodeToString([]byte(key)))
	if kept, err := os.ReadFile(path); err == nil && bytes.Equal(kept, value) {
		return nil
	}
	return replaceFile(path, string(f.FileStore)+".new", value) // in the directory, only names of keys are allowed
}

// replaceFile replaces a file as a whole, by way of a temporary one on the same file system.
func replaceFile(path, temporary string, content []byte) error {
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
