import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The version in package.json, which is two folders up in the source tree and three up once built. */
export const version = readVersion()

function readVersion(): string {
  const path = ['../../package.json', '../../../package.json']
    .map((relative) => fileURLToPath(new URL(relative, import.meta.url)))
    .find((candidate) => existsSync(candidate))
  if (path === undefined) throw new Error('package.json of tsnsrv-sup is missing: the installation is damaged, install it again')
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}
