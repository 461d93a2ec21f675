mod names;
mod slices;
