/** Where the auth key of a service comes from. Keys never leave this file but as the answer to `authKey`. */
import { readFileSync } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { inWords } from '../../shared/systemErrors.ts'
import type { ResolvedService } from '../config/parseConfig.ts'
import { mintAuthKey, OAUTH_SECRET_PREFIX } from './mintAuthKey.ts'

export interface CredentialSource {
  /** TS_AUTHKEY, TS_AUTH_KEY and, from systemd's LoadCredential=, CREDENTIALS_DIRECTORY count. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** API that turns an OAuth client secret into an auth key. */
  readonly keyAPIURL: string
  readonly fetch?: typeof fetch
}

export interface Credentials {
  /**
   * The key that the service's node may log in with; undefined when there is none, or when an OAuth client secret need not
   * be turned into one because the node has logged in before. `fresh` says that the node asks for a login.
   * Rejects with a sentence for the operator; it never contains a secret.
   */
  readonly authKey: (service: ResolvedService, how: { readonly fresh: boolean }) => Promise<string | undefined>
  /** Whether a key can be expected at all, so that a node that needs a login is worth another try. */
  readonly has: (service: ResolvedService) => boolean
}

/** Variables that hold a key. Whoever has read them takes them out of the environment, so that no child process gets them. */
export const KEY_VARIABLES = ['TS_AUTHKEY', 'TS_AUTH_KEY'] as const

/** The file name of systemd's credential that is meant for all services: LoadCredential=authkey:PATH. */
const SYSTEMD_CREDENTIAL = 'authkey'

export function createCredentials({ env, keyAPIURL, fetch = globalThis.fetch }: CredentialSource): Credentials {
  const credentialsDirectory = env.CREDENTIALS_DIRECTORY
  const fromSystemd = credentialsDirectory && join(credentialsDirectory, SYSTEMD_CREDENTIAL)
  const fromEnvironment = KEY_VARIABLES.map((name) => env[name]?.trim()).find(Boolean)

  async function secretOf({ credentialPath }: ResolvedService): Promise<string | undefined> {
    if (credentialPath !== '') return await readOwn(credentialPath)
    const key = fromSystemd ? await readKey(fromSystemd, { mayBeMissing: true }) : undefined
    return key ?? fromEnvironment
  }

  /** A bare name is a systemd credential if there is one of that name. */
  async function readOwn(path: string): Promise<string | undefined> {
    if (credentialsDirectory && !isAbsolute(path) && !path.includes('/')) {
      const key = await readKey(join(credentialsDirectory, path), { mayBeMissing: true })
      if (key !== undefined) return key
    }
    return await readKey(path, { mayBeMissing: false })
  }

  return {
    has: ({ credentialPath }) =>
      credentialPath !== '' || fromEnvironment !== undefined || (fromSystemd ? hasText(fromSystemd) : false),
    async authKey(service, { fresh }) {
      const needed = fresh || !(await hasLoggedIn(service))
      let secret: string | undefined
      try {
        secret = await secretOf(service)
      } catch (error) {
        // A one-time key may be gone once it has been used: that is no reason to keep a node down that knows who it is.
        if (needed) throw error
      }
      if (!secret?.startsWith(OAUTH_SECRET_PREFIX)) return secret
      return needed ? await mintAuthKey(secret, service, { keyAPIURL, fetch }) : undefined
    },
  }
}

function hasText(path: string): boolean {
  try {
    return readFileSync(path, 'utf8').trim() !== ''
  } catch (error) {
    // One that is there and cannot be read is told when the key is asked for.
    return (error as NodeJS.ErrnoException).code !== 'ENOENT'
  }
}

/** tailscale keeps the node key in this file. */
async function hasLoggedIn({ spec }: ResolvedService): Promise<boolean> {
  try {
    await access(join(spec.exposure.node.stateDir, 'tailscaled.state'))
    return true
  } catch {
    return false
  }
}

async function readKey(path: string, { mayBeMissing }: { readonly mayBeMissing: boolean }): Promise<string | undefined> {
  let content: string
  try {
    content = await readFile(path, 'utf8')
  } catch (error) {
    if (mayBeMissing && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(
      `the auth key cannot be read: ${path}: ${inWords(error)}; check authkeyPath and the permissions of the file`,
      {
        cause: error,
      },
    )
  }
  if (mayBeMissing && content.trim() === '') return undefined
  // What a unit says in the place of a file that is missing is a comment: SetCredential= beside LoadCredential=.
  const key = content.replace(/^#.*$/gm, '').trim()
  if (key === '') {
    throw new Error(
      `the auth key is missing: ${path} has none; write a key or an OAuth client secret into it. Where systemd hands it over, write it ` +
        'into the file that LoadCredential= names, and restart the unit',
    )
  }
  return key
}
