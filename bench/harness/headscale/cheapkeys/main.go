// Command cheapkeys makes an auth key in a Headscale database as cheap to check as bcrypt can be. Headscale hashes it at a
// cost of a tenth of a CPU second, which it pays again for each node that logs in: beside it on the same cores, dozens
// of starting nodes would mostly wait for that.
//
// Usage: cheapkeys <database file>, with the key on standard input.
package main

import (
	"database/sql"
	"fmt"
	"io"
	"os"
	"strings"

	_ "github.com/glebarez/go-sqlite"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "cheapkeys: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: cheapkeys <database file>")
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	key := strings.TrimSpace(string(text))
	// hskey-auth-<prefix of 12>-<secret>; prefix and secret may contain dashes.
	const prefixAt, prefixLength = len("hskey-auth-"), 12
	if len(key) < prefixAt+prefixLength+2 {
		return fmt.Errorf("this is no auth key of Headscale (hskey-auth-...)")
	}
	prefix, secret := key[prefixAt:prefixAt+prefixLength], key[prefixAt+prefixLength+1:]
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		return err
	}
	database, err := sql.Open("sqlite", os.Args[1]+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer database.Close()
	result, err := database.Exec("UPDATE pre_auth_keys SET hash = ? WHERE prefix = ?", hash, prefix)
	if err != nil {
		return err
	}
	count, err := result.RowsAffected()
	if err == nil && count != 1 {
		err = fmt.Errorf("%d keys have this prefix", count)
	}
	return err
}
