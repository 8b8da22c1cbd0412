import { join } from 'node:path'
import { execa } from 'execa'

/** Builds the program of the Go module test/<name>, which Go keeps for the next time, and gives its path. */
export async function buildGoTool(name: string): Promise<string> {
  const cwd = join(import.meta.dirname, '..', name)
  const { stdout } = await execa('go', ['tool', '-n', name], { cwd, env: { CGO_ENABLED: '0' } })
  return stdout.trim()
}
