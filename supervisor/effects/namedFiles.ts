/**
 * Looks into the files that a configuration names, as the worker will. What is wrong there is a note: it is the trouble of
 * one service, and no reason to refuse the others.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { constants, existsSync } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { inWords } from '../../shared/systemErrors.ts'
import type { Diagnostic } from '../config/diagnostic.ts'
import type { NamedFile, NamedFiles } from '../config/namedFiles.ts'

/** No certificate and no bundle of authorities comes near this. */
const MOST_BYTES = 16 * 1024 * 1024

/** Why a file is of no use, to follow its path, and what to do about it. */
class Unusable extends Error {
  readonly hint: string

  constructor(problem: string, hint: string) {
    super(problem)
    this.hint = hint
  }
}

interface Surroundings {
  /** $CREDENTIALS_DIRECTORY of systemd. */
  readonly credentialsDirectory?: string | undefined
  /** In milliseconds since 1970. */
  readonly now?: number
}

/** Notes about all that is wrong with the files. */
export async function noteFiles(
  files: readonly NamedFiles[],
  { credentialsDirectory, now = Date.now() }: Surroundings = {},
): Promise<Diagnostic[]> {
  const notes: Diagnostic[] = []

  /** What `look` gives; when that throws, a note tells why at the place of the file. */
  async function attempt<T>(file: NamedFile, look: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await look()
    } catch (error) {
      const { message, hint } = error instanceof Unusable ? error : explain(error as NodeJS.ErrnoException)
      notes.push({ severity: 'note', ...file.place, message: `${file.key}: ${file.path} ${message}`, hint })
      return undefined
    }
  }

  // One after the other: a thousand services would open more files than a process may.
  for (const named of files) {
    if ('authorities' in named) {
      await attempt(named.authorities, async () => checkTimes(await readCertificates(named.authorities.path), now))
      continue
    }
    if ('authKey' in named) {
      const { authKey, credential } = named
      await attempt(authKey, () => checkAuthKey(authKey.path, credential, credentialsDirectory))
      continue
    }
    const { certificate, privateKey } = named
    // What follows the first are the authorities between it and a root.
    const [leaf] = (await attempt(certificate, () => readCertificates(certificate.path))) ?? []
    const key = await attempt(privateKey, () => readKey(privateKey.path))
    if (leaf) await attempt(certificate, () => checkTimes([leaf], now))
    if (leaf && key) await attempt(privateKey, () => checkBelongs(key, leaf, certificate.path))
  }
  return notes
}

/** That a key can be read there. What it is stays unread: this is no place that needs to know a secret. */
async function checkAuthKey(path: string, credential: string, credentialsDirectory: string | undefined): Promise<void> {
  const isCredential = credential !== '' && credentialsDirectory && existsSync(join(credentialsDirectory, credential))
  if (isCredential) return
  const about = await stat(path)
  if (!about.isFile()) throw new Unusable('is no file', 'name a file with an auth key or an OAuth client secret')
  if (about.size === 0) throw new Unusable('is empty', 'write an auth key or an OAuth client secret into it')
  await access(path, constants.R_OK)
}

/** At least one certificate. */
async function readCertificates(path: string): Promise<X509Certificate[]> {
  const blocks = (await readText(path)).match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? []
  try {
    const certificates = blocks.map((block) => new X509Certificate(block))
    if (certificates.length > 0) return certificates
  } catch {
    throw new Unusable('has a damaged certificate in it', 'get the file again from where it was issued')
  }
  throw new Unusable('has no certificate in it', 'name a file in PEM, with a line -----BEGIN CERTIFICATE-----')
}

async function readKey(path: string): Promise<KeyObject> {
  const text = await readText(path)
  if (!/-----BEGIN (\w+ )?PRIVATE KEY-----/.test(text)) {
    throw new Unusable('has no private key in it', 'name a file in PEM, with a line -----BEGIN PRIVATE KEY-----')
  }
  if (/^(-----BEGIN|Proc-Type:).*ENCRYPTED/m.test(text)) {
    throw new Unusable('is encrypted, and nobody can be asked for its password', 'name a file with the key as it is')
  }
  try {
    return createPrivateKey(text)
  } catch {
    // The words of OpenSSL say nothing to an operator.
    throw new Unusable('has a damaged private key in it', 'get the file again from where it was made')
  }
}

/** The file is of use as long as one of the certificates is valid. */
function checkTimes(certificates: readonly X509Certificate[], now: number): void {
  const from = Math.min(...certificates.map(({ validFrom }) => Date.parse(validFrom)))
  const to = Math.max(...certificates.map(({ validTo }) => Date.parse(validTo)))
  if (to < now) throw new Unusable(`has expired: it was valid until ${iso(to)}`, 'renew it')
  if (from > now) throw new Unusable(`is not valid before ${iso(from)}`, 'check the clock of this machine, or wait')
}

function iso(time: number): string {
  return new Date(time).toISOString().replace('.000', '')
}

function checkBelongs(key: KeyObject, leaf: X509Certificate, certificatePath: string): void {
  if (leaf.checkPrivateKey(key)) return
  throw new Unusable(
    `is not the key of the first certificate in ${certificatePath}`,
    'name the two files that belong together; the certificate of the server comes first in its file',
  )
}

async function readText(path: string): Promise<string> {
  const about = await stat(path)
  // Reading a pipe could wait for ever, and a device need not end.
  if (!about.isFile()) throw new Unusable('is no file', 'name a file in PEM')
  if (about.size > MOST_BYTES) throw new Unusable(`is bigger than ${MOST_BYTES / 1024 / 1024} MiB`, 'name a file in PEM')
  return await readFile(path, 'utf8')
}

function explain(error: NodeJS.ErrnoException): { message: string; hint: string } {
  const { code } = error
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return { message: 'does not exist', hint: 'put it there, or correct the path' }
    case 'EACCES':
    case 'EPERM':
      return {
        message: `may not be read (${code})`,
        hint: 'let the user that runs tsnsrv-sup read the file and its directories',
      }
    default:
      return { message: `cannot be read: ${inWords(error)}`, hint: 'check the path and the disk' }
  }
}
