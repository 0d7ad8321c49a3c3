// `parallel` and `pipeline` (C30-C34), with everything they use taken before a script can replace it (C9).
// Promises are awaited one by one, never by `Promise.all`, which would read `then` from an open prototype.
'use strict';
(function (host) {
  const { isArray } = Array;
  const { apply } = Reflect;
  const { gate, lost } = host;
  const delivered = new WeakSet();
  const { add, has } = WeakSet.prototype;
  const TypeErrorOf = TypeError;
  const RangeErrorOf = RangeError;
  const ITEMS_MAX = 4096;

  // The engine's table of these asks for the number of processors once, which the sandbox does not allow later.
  Symbol.for('');

  const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

  // A slot that threw is null, unless the run was stopped: then the error ends the whole call.
  const forgive = (barrier, place, error) => {
    const fromHost = isObject(error) && apply(has, delivered, [error]);
    if (lost(place, error, fromHost)) barrier.stop = { error };
    return null;
  };

  const meet = async (barrier, slots) => {
    const values = [];
    for (let i = 0; i < slots.length; i++) values[i] = await slots[i];
    if (barrier.stop) throw barrier.stop.error;
    return values;
  };

  const checkCount = (name, count) => {
    if (count > ITEMS_MAX) throw new RangeErrorOf(name + '() takes at most ' + ITEMS_MAX + ' items, not ' + count);
  };

  const parallel = async function parallel(thunks) {
    if (!isArray(thunks)) throw new TypeErrorOf('parallel() expects an array of functions');
    const count = thunks.length;
    checkCount('parallel', count);
    const functions = [];
    for (let i = 0; i < count; i++) {
      const thunk = thunks[i];
      if (typeof thunk !== 'function') {
        throw new TypeErrorOf(
          'parallel() expects an array of functions, not promises. Wrap each call: () => agent(...)');
      }
      functions[i] = thunk;
    }
    if (count > 0) gate();
    const barrier = { __proto__: null, stop: null };
    const slot = async (thunk, index) => {
      try {
        return await thunk();
      } catch (error) {
        return forgive(barrier, 'parallel[' + index + ']', error);
      }
    };
    const slots = [];
    for (let i = 0; i < count; i++) slots[i] = slot(functions[i], i);
    return await meet(barrier, slots);
  };

  const pipeline = async function pipeline(items, ...stages) {
    if (!isArray(items)) throw new TypeErrorOf('pipeline() expects an array as the first argument');
    for (let s = 0; s < stages.length; s++) {
      if (typeof stages[s] !== 'function') throw new TypeErrorOf('pipeline() stages must be functions');
    }
    const count = items.length;
    checkCount('pipeline', count);
    const originals = [];
    for (let i = 0; i < count; i++) originals[i] = items[i];
    if (count > 0) gate();
    const barrier = { __proto__: null, stop: null };
    const walk = async (item, index) => {
      let value = item;
      try {
        for (let s = 0; s < stages.length && value !== null; s++) {
          const stage = stages[s];
          value = await stage(value, item, index);
        }
        return value;
      } catch (error) {
        return forgive(barrier, 'pipeline[' + index + ']', error);
      }
    };
    const slots = [];
    for (let i = 0; i < count; i++) slots[i] = walk(originals[i], i);
    return await meet(barrier, slots);
  };

  const markDelivered = (error) => { apply(add, delivered, [error]); };

  return { parallel, pipeline, markDelivered };
})
