"""Emulator of the Supabase Storage HTTP API: bytes on disk, metadata in Postgres schema `storage`."""
