/** `npm run vendor-hash` writes nix/vendor.sri, by which Nix fetches the worker's Go modules, after go.mod has changed. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

const root = join(import.meta.dirname, '..')

/** The hash that nixpkgs' buildGoModule wants: of what `go mod vendor` writes. Needs Nix, and the modules in Go's cache or a network. */
export async function vendorHash(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-vendor-'))
  try {
    const vendor = join(directory, 'vendor')
    await execa('go', ['mod', 'vendor', '-o', vendor], { cwd: join(root, 'worker') })
    const { stdout } = await execa('nix', ['--extra-experimental-features', 'nix-command', 'hash', 'path', '--sri', vendor])
    return stdout.trim()
  } finally {
    await rm(directory, { recursive: true })
  }
}

if (process.argv[1] === import.meta.filename) await writeFile(join(root, 'nix/vendor.sri'), `${await vendorHash()}\n`)
