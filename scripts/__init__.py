"""Operations jobs of UnionCore observability."""
