/** Texts without the secrets that URLs and keys are: what people are shown, and what is logged. Pure. */

/** What stands in place of a secret. */
type Mask = (secret: string) => string

/** What is masked already keeps its length, so that carets below it stay where they are. */
const stars: Mask = (secret) => (/^\*+$/.test(secret) ? secret : '***')

/** Where a URL ends that stands in a message. */
const WORD = /[^\s"]*/y

/** A message, from whomever, without user names, passwords and queries of its URLs and without Tailscale keys. */
export function withoutSecrets(text: string): string {
  return maskKeys(maskURLs(text, WORD, stars), stars)
}

/** An http or https URL as people may see it: without user name and password, the query masked. */
export function shownURL(url: string): string {
  const shown = withoutUserInfo(url)
  const tail = shown.search(/[?#]/)
  return tail === -1 ? shown : `${shown.slice(0, tail + 1)}***`
}

/** Whether a URL carries a user name or password. */
export function hasUserInfo(url: string): boolean {
  return /^(https?|h2c):\/\/[^/?#]*@/i.test(url)
}

/** The URL without user name and password. */
export function withoutUserInfo(url: string): string {
  return url.replace(/^((?:https?|h2c):\/\/)[^/?#]*@/i, '$1')
}

/**
 * Masks in each URL what stands before its last "@", and from the first "?" or "#" after that. `extent` is a sticky pattern that
 * tells how far a URL reaches. A URL that is wrong is masked too much rather than too little.
 */
export function maskURLs(text: string, extent: RegExp, mask: Mask): string {
  let masked = ''
  let from = 0
  for (let mark = text.indexOf('://'); mark !== -1; mark = text.indexOf('://', from)) {
    const start = mark + '://'.length
    extent.lastIndex = start
    const url = extent.exec(text)?.[0] ?? ''
    const at = url.lastIndexOf('@')
    const tail = /[?#]/.exec(url.slice(at + 1))
    const end = tail ? at + 1 + tail.index + 1 : url.length
    const userInfo = at > 0 ? mask(url.slice(0, at)) : ''
    masked +=
      text.slice(from, start) + userInfo + url.slice(Math.max(at, 0), end) + (end < url.length ? mask(url.slice(end)) : '')
    from = start + url.length
  }
  return masked + text.slice(from)
}

/** Masks Tailscale keys, but for the prefix that tells their kind. */
export function maskKeys(text: string, mask: Mask): string {
  return text.replace(
    /(tskey-(?:(?:auth|client|api|webhook|scim)-)?)([\w-]+)/g,
    (_key, prefix: string, secret: string) => prefix + mask(secret),
  )
}
