// Asks the API this page came from.

import { token } from './session.js';

const BASE = '/api/v1';

/** An answer that is none: a status of 0 is a server that did not answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** The token is missing or none of this API's. */
  get isStranger() {
    return this.status === 401;
  }

  /** The same again may work. */
  get mayPass() {
    return this.status === 0 || this.status >= 500 || this.status === 429;
  }
}

/** The answer to a GET below `/api/v1`; throws `ApiError`. */
export async function get(path, headers = {}, signal = undefined) {
  let answer;
  try {
    answer = await fetch(BASE + path, {
      headers: { ...headers, Authorization: `Bearer ${token() ?? ''}` },
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'the server does not answer');
  }
  if (!answer.ok) throw new ApiError(answer.status, await detail(answer));
  return answer;
}

/** The same as a value. */
export async function getJson(path, signal = undefined) {
  const answer = await get(path, {}, signal);
  return answer.json();
}

async function detail(answer) {
  try {
    const problem = await answer.json();
    return typeof problem.detail === 'string' ? problem.detail : `the server answered ${answer.status}`;
  } catch {
    return `the server answered ${answer.status}`;
  }
}
