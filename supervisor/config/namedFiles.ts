/** Which files the services name and where they do, for whoever may look into them. */
import { resolve } from 'node:path'
import type { Place } from './report.ts'
import type { RuleContext, WrittenService } from './serviceRules.ts'

/** A file that a key names. */
export interface NamedFile {
  readonly key: 'certificateFile' | 'keyFile' | 'upstreamCAFile' | 'authkeyPath'
  /** Absolute. */
  readonly path: string
  /** Where the configuration names it. */
  readonly place: Place
}

/** What is looked at together. */
export type NamedFiles =
  | { readonly certificate: NamedFile; readonly privateKey: NamedFile }
  | { readonly authorities: NamedFile }
  /** `credential`: what is written, if it may be the name of a systemd credential instead; empty if not. */
  | { readonly authKey: NamedFile; readonly credential: string }

/** The files of all services; one that many have from `defaults:` comes as often. */
export function filesOf(services: readonly WrittenService[], { report, place }: RuleContext, cwd: string): NamedFiles[] {
  return services.flatMap(({ index, keys }): NamedFiles[] => {
    const named = (key: NamedFile['key']): NamedFile => ({
      key,
      path: resolve(cwd, keys[key]),
      place: report.placeOf(place(index, key)),
    })
    return [
      ...(keys.certificateFile === '' ? [] : [{ certificate: named('certificateFile'), privateKey: named('keyFile') }]),
      ...(keys.upstreamCAFile === '' ? [] : [{ authorities: named('upstreamCAFile') }]),
      ...(keys.authkeyPath === '' ? [] : [{ authKey: named('authkeyPath'), credential: credentialName(keys.authkeyPath) }]),
    ]
  })
}

/** A bare name may be that of a systemd credential (LoadCredential=); a path never is. */
function credentialName(path: string): string {
  return path.includes('/') ? '' : path
}
