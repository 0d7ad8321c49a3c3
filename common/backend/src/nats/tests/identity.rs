//! Who a process says it is.
