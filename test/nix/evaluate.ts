import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { execa, ExecaError } from 'execa'

const root = join(import.meta.dirname, '../..')
/** The lib/ folder of nixpkgs. */
const libPath = resolve(process.env.NIXPKGS_LIB ?? join(root, '../shared/nix/nixpkgs-lib/lib'))

/** Why Nix expressions cannot be evaluated here; undefined when they can. Throws when NIXPKGS_LIB names something else. */
export async function whyNoNix(): Promise<string | undefined> {
  const { failed } = await execa('nix-instantiate', ['--version'], { reject: false })
  if (failed) return 'nix-instantiate is missing (apt install nix-bin)'
  if (existsSync(join(libPath, 'default.nix'))) return undefined
  if (process.env.NIXPKGS_LIB !== undefined) {
    throw new Error(`NIXPKGS_LIB names ${libPath}, which has no default.nix: set it to the lib folder of a nixpkgs checkout`)
  }
  return "nixpkgs' lib is missing: set NIXPKGS_LIB to the lib folder of a nixpkgs checkout"
}

/**
 * Value of a Nix expression, of which test/nix is the current directory and `lib` is nixpkgs' library. Needs no daemon, no
 * writable store and no root. Throws with Nix's message when the expression does.
 */
export async function evaluate(expression: string): Promise<unknown> {
  const args = [
    '--store',
    'dummy://',
    '--eval',
    '--strict',
    '--json',
    '--expr',
    `let lib = import (/. + ${JSON.stringify(libPath)}); in ${expression}`,
  ]
  try {
    const { stdout } = await execa('nix-instantiate', args, { cwd: import.meta.dirname })
    return JSON.parse(stdout)
  } catch (error) {
    throw error instanceof ExecaError ? new Error(String(error.stderr)) : error
  }
}
