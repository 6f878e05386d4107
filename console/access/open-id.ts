import * as client from 'openid-client'
import { z } from 'zod'
import { readSecret } from '../../lib/config.ts'
import { asFailure, failure, SightlineError } from '../../lib/errors.ts'
import { isName } from '../../wire/names.ts'
import { PERSON_ROLES, type PersonRole, userShape } from '../../wire/users.ts'
import type { ConsoleConfig } from '../config.ts'
import type { OpenIdPerson } from './people.ts'

/** Signing in at an OpenID provider: authorization code with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1). */

export type OpenIdConfig = NonNullable<ConsoleConfig['access']['openId']>

/** What the provider says of itself is asked again after this. */
const DISCOVERY_AGE_MS_MAX = 3_600_000
const PROVIDER_S_MAX = 10
const SITES_MAX = 1000
export const CALLBACK_PATH = '/signin/openid/callback'

/** What the browser keeps, between leaving for the provider and coming back. */
export const pendingSchema = z.strictObject({
  state: z.string().min(1).max(200),
  nonce: z.string().min(1).max(200),
  verifier: z.string().min(1).max(200),
  next: z.string().max(2000),
})
export type Pending = z.output<typeof pendingSchema>

export class OpenId {
  readonly #config: OpenIdConfig
  readonly #secret: string | undefined
  readonly #callback: string
  #provider: { readonly client: client.Configuration; readonly atMs: number } | undefined
  /** However many sign in at once, the provider is asked once. */
  #asking: Promise<client.Configuration> | undefined

  private constructor(config: OpenIdConfig, secret: string | undefined, callback: string) {
    this.#config = config
    this.#secret = secret
    this.#callback = callback
  }

  /** The provider is asked when somebody signs in: it may be away now. Errors: those of a secret's file */
  static open(config: OpenIdConfig, publicUrl: string): OpenId {
    const { clientSecret, clientSecretFile } = config
    if (clientSecret !== undefined && clientSecretFile !== undefined)
      throw failure(
        'CONFIG_INVALID',
        '"access.openId" has both "clientSecret" and "clientSecretFile". Keep one.',
      )
    const secret = readSecret('"access.openId"', { password: clientSecret, passwordFile: clientSecretFile })
    return new OpenId(config, secret, new URL(CALLBACK_PATH, publicUrl).href)
  }

  /** For people: who it is that one signs in at. */
  get host(): string {
    return new URL(this.#config.issuer).host
  }

  /** @returns where to send the browser. Errors: OPENID_UNREACHABLE */
  async begin(next: string): Promise<{ address: string; pending: Pending }> {
    const provider = await this.#discover()
    const verifier = client.randomPKCECodeVerifier()
    const pending: Pending = { state: client.randomState(), nonce: client.randomNonce(), verifier, next }
    const address = client.buildAuthorizationUrl(provider, {
      redirect_uri: this.#callback,
      scope: this.#config.scopes.join(' '),
      response_type: 'code',
      state: pending.state,
      nonce: pending.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    return { address: address.href, pending }
  }

  /**
   * @param query of the address the browser came back to, with its question mark
   * @returns whom the provider vouches for. Errors: OPENID_REFUSED, OPENID_UNREACHABLE
   */
  async finish(query: string, { state, nonce, verifier }: Pending): Promise<OpenIdPerson> {
    const provider = await this.#discover()
    const address = new URL(this.#callback)
    address.search = query
    let claims: Readonly<Record<string, unknown>>
    try {
      const tokens = await client.authorizationCodeGrant(provider, address, {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
        idTokenExpected: true,
      })
      const idToken = tokens.claims()
      if (!idToken)
        throw failure(
          'OPENID_REFUSED',
          'The provider sent no ID token. Check that "access.openId.scopes" has "openid".',
        )
      claims = idToken
      const isMissing = this.#claims.some((name) => claimOf(claims, name) === undefined)
      if (isMissing && provider.serverMetadata().userinfo_endpoint !== undefined)
        // What the ID token says counts more: it is signed.
        claims = { ...(await client.fetchUserInfo(provider, tokens.access_token, idToken.sub)), ...idToken }
    } catch (error) {
      throw inPlainWords(error)
    }
    return this.#personOf(claims)
  }

  get #claims(): readonly string[] {
    const { nameClaim, roleClaim, sitesClaim } = this.#config
    return [nameClaim, roleClaim, ...(sitesClaim === undefined ? [] : [sitesClaim])]
  }

  #personOf(claims: Readonly<Record<string, unknown>>): OpenIdPerson {
    const { issuer, nameClaim, roleClaim, roles, sitesClaim } = this.#config
    const name = userShape.name.safeParse(claimOf(claims, nameClaim))
    if (!name.success)
      throw failure(
        'OPENID_REFUSED',
        `The provider sent no usable user name: the claim "${nameClaim}" is missing, empty or has a colon.`,
      )
    if (nameClaim === 'email' && claims.email_verified === false)
      throw failure(
        'OPENID_REFUSED',
        `The provider has not verified the address ${name.data}. Verify it there, then sign in again.`,
      )
    const given = textsOf(claimOf(claims, roleClaim))
    const theirs = given.flatMap((value) => (Object.hasOwn(roles, value) ? [roles[value]] : []))
    // The one that may most: PERSON_ROLES ascend.
    const role = PERSON_ROLES.findLast((it) => theirs.includes(it)) as PersonRole | undefined
    if (role === undefined)
      throw failure(
        'OPENID_REFUSED',
        `${name.data} has no role here: the claim "${roleClaim}" has none of the values in "access.openId.roles". Ask the administrator of the provider.`,
      )
    const subject = typeof claims.sub === 'string' ? claims.sub : ''
    const person = { name: name.data, issuer, subject, role }
    if (sitesClaim === undefined || role === 'admin') return { ...person, sites: undefined }
    const sites = claimOf(claims, sitesClaim)
    // Without the claim nobody sees everything: he sees nothing.
    if (sites === undefined)
      throw failure(
        'OPENID_REFUSED',
        `The provider does not say which sites ${name.data} may see: the claim "${sitesClaim}" is missing. Ask the administrator of the provider.`,
      )
    return { ...person, sites: textsOf(sites).filter(isName).slice(0, SITES_MAX) }
  }

  async #discover(): Promise<client.Configuration> {
    const nowMs = performance.now()
    if (this.#provider && nowMs < this.#provider.atMs + DISCOVERY_AGE_MS_MAX) return this.#provider.client
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #ask(): Promise<client.Configuration> {
    const { issuer, clientId } = this.#config
    try {
      const provider = await client.discovery(
        new URL(issuer),
        clientId,
        undefined,
        this.#secret === undefined ? client.None() : client.ClientSecretBasic(this.#secret),
        {
          timeout: PROVIDER_S_MAX,
          // Of this machine alone: the configuration is refused otherwise.
          execute: new URL(issuer).protocol === 'http:' ? [client.allowInsecureRequests] : [],
        },
      )
      this.#provider = { client: provider, atMs: performance.now() }
      return provider
    } catch (error) {
      throw failure(
        'OPENID_UNREACHABLE',
        `The provider ${issuer} does not answer as an OpenID provider does. Check "access.openId.issuer" and that this machine reaches it.`,
        error,
      )
    }
  }
}

/** By its name; or, as some providers nest them, by a path with dots. */
function claimOf(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name]
  let value: unknown = claims
  for (const key of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

/** A claim that is one value, or a list of them. */
function textsOf(claim: unknown): readonly string[] {
  const values = Array.isArray(claim) ? claim : [claim]
  return values.filter((value) => typeof value === 'string')
}

function inPlainWords(error: unknown): SightlineError {
  if (error instanceof SightlineError) return error
  if (error instanceof client.AuthorizationResponseError)
    return failure(
      'OPENID_REFUSED',
      error.error === 'access_denied'
        ? 'The sign-in was cancelled at the provider. Start again.'
        : `The provider refused: ${error.error}. Start again.`,
      error,
    )
  if (error instanceof client.ResponseBodyError)
    return failure(
      'OPENID_REFUSED',
      error.error === 'invalid_client'
        ? 'The provider refused this console\'s "access.openId.clientId" or its secret. Check both.'
        : `The provider refused: ${error.error}. Start again.`,
      error,
    )
  const { code } = error as { code?: unknown }
  if (code === 'OAUTH_TIMEOUT' || (error instanceof TypeError && error.message === 'fetch failed'))
    return failure('OPENID_UNREACHABLE', 'The provider does not answer. Try again in a moment.', error)
  if (error instanceof client.ClientError)
    return failure(
      'OPENID_REFUSED',
      'The answer of the provider does not belong to this sign-in. Start again.',
      error,
    )
  return asFailure(error)
}
